// What all benchmarks of kernels share: a stream, a clock, the machine's rates, memory in several
// copies.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/cuda/device_faults.h"
#include "engine/kernel_bench.h"
#include "kernels/cuda/peers.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/timing.h"

namespace ftt::cuda {

class BenchBed {
 public:
  BenchBed(const KernelBenchOptions& options, KernelBenchSink sink);

  const KernelBenchOptions& Options() const { return options_; }
  DeviceStream S() const { return stream_.Get(); }
  void Wait() const { stream_.Wait(); }
  ConvolutionPeer* Cudnn() const { return cudnn_.get(); }
  const std::string& CudnnMissing() const { return cudnn_missing_; }

  // Copies of a working set of that many bytes, so that each is out of the cache when its turn
  // comes.
  int Sets(int64_t bytes) const;
  // Seconds of body(0), body(1) .. body(sets - 1), each; the median of the repeats after a first
  // one that does not count. The device is kept busy with overwriting the cache until all launches
  // are enqueued, so that none waits for the host.
  double Seconds(int sets, const std::function<void(int)>& body);
  // The row's time and floor, from what a call must move and multiply.
  void Fill(KernelBenchRow& row, double seconds, int64_t bytes, int64_t multiply_adds) const;
  void Report(const KernelBenchRow& row) const { sink_.row(row); }

 private:
  void MeasureRates(int multiprocessors);

  KernelBenchOptions options_;
  KernelBenchSink sink_;
  Stream stream_;
  int64_t cache_bytes_;
  DeviceMemory flush_;
  Stopwatch watch_;
  KernelBenchRates rates_;
  std::string cudnn_missing_;
  std::unique_ptr<ConvolutionPeer> cudnn_;
};

// `sets` equal blocks of device memory.
class SetMemory {
 public:
  SetMemory(int sets, int64_t bytes)
      : stride_((bytes + 255) / 256 * 256), memory_(stride_ * sets), sets_(sets) {}
  template <typename T>
  SetMemory(int sets, const std::vector<T>& values, DeviceStream stream)
      : SetMemory(sets, static_cast<int64_t>(values.size() * sizeof(T))) {
    Fill(values, stream);
  }
  // All blocks with the same values, which must live until the stream has been waited for.
  template <typename T>
  void Fill(const std::vector<T>& values, DeviceStream stream) {
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    CopyToDevice(At<T>(0), values.data(), bytes, stream);
    for (int set = 1; set < sets_; ++set) CopyOnDevice(At<T>(set), At<T>(0), bytes, stream);
  }
  template <typename T>
  T* At(int set) const {
    return reinterpret_cast<T*>(memory_.Data() + stride_ * (set < sets_ ? set : 0));
  }

 private:
  int64_t stride_;
  DeviceMemory memory_;
  int sets_;
};

// Device memory that holds the values, once the stream has been waited for.
template <typename T>
DeviceMemory Resident(const std::vector<T>& values, DeviceStream stream) {
  DeviceMemory memory(static_cast<int64_t>(values.size() * sizeof(T)));
  CopyToDevice(memory.Data(), values.data(), memory.Size(), stream);
  return memory;
}
template <typename T>
std::vector<T> Download(const T* device, int64_t n, DeviceStream stream) {
  std::vector<T> values(static_cast<size_t>(n));
  CopyToHost(values.data(), device, n * static_cast<int64_t>(sizeof(T)), stream);
  return values;  // once the stream has been waited for
}

// Faults of one lane over a program, on the host and on the device.
class BenchFaults {
 public:
  BenchFaults(BenchBed& bed, const Program& program, const FaultSpec& spec, int lanes,
              bool weights);
  const LanePlan& Plan() const { return plan_; }
  LanePlan& Plan() { return plan_; }
  const DeviceFaults& Device() const { return *device_; }
  const uint32_t* ImageIds() const { return ids_; }
  SiteFaultsView Feature(int value) const { return device_->Feature(value, ids_); }
  // From here on Feature gives lists where they are possible, as in the engine.
  void DrawAhead(BenchBed& bed);
  // Draws the lists again.
  void Draw(BenchBed& bed) const;

 private:
  static LanePlan MakePlan(const Program& program, const FaultSpec& spec, int lanes, uint64_t seed);

  LanePlan plan_;
  DeviceMemory hits_, strikes_;
  Staging staging_{1};
  std::unique_ptr<DeviceFaults> device_;
  const uint32_t* ids_ = nullptr;
};

// One convolution behind an input of `map`, then what a network needs to end.
Program OneConvolution(const Shape& map, int kernel, int stride, bool depthwise);

// Rows of one group each.
void BenchConvolutions(BenchBed& bed, bool depthwise);
void BenchSeparable(BenchBed& bed);
void BenchBackward(BenchBed& bed);
void BenchPasses(BenchBed& bed);
void BenchSamplers(BenchBed& bed);
void BenchWeights(BenchBed& bed);
void BenchOptimizer(BenchBed& bed);

// All groups that the options name.
void BenchKernels(const KernelBenchOptions& options, const KernelBenchSink& sink);

}  // namespace ftt::cuda
