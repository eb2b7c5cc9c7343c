// The CPU backend. Work is cut into tasks of one lane and a few images (a shard); how it is cut
// depends on shapes alone, never on the number of threads, so neither do results.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <vector>

#include "core/aligned.h"
#include "core/thread_pool.h"
#include "kernels/backend.h"
#include "kernels/cpu/conv_dnnl.h"
#include "kernels/cpu/dense_gradient.h"
#include "kernels/cpu/depthwise.h"
#include "kernels/cpu/direct_conv.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/norm_sums.h"
#include "kernels/cpu/packed_lanes.h"
#include "kernels/cpu/pair_conv.h"

namespace ftt::cpu {

class CpuBackend : public Backend {
 public:
  // full_precision: nothing is kept in 16 bits, even where that is faster.
  CpuBackend(int threads, bool full_precision);

  std::string_view Name() const override { return full_precision_ ? "cpu-f32" : "cpu"; }
  int Threads() const override { return pool_.Threads(); }
  double ConvolutionSeconds() const override;
  void For(int n, const std::function<void(int, int)>& body) override;
  void Prepare(const WindowShape&, WeightCodes* weights, bool backward, int worker) override;
  RawType TrainingRaw() const override {
    return ops_.fast_halves && !full_precision_ ? RawType::kHalf : RawType::kInt32;
  }
  void Accumulate(const BatchDims&, const WindowShape&, const int8_t* x, WeightCodes* weights,
                  const RawMap& acc, ChannelStats* stats) override;
  void Quantize(const BatchDims&, const Shape&, int bits, const RawMap& acc, const LaneNorm* norms,
                const LaneFaults* faults, int8_t* codes, uint8_t* mask, bool relu_mask) override;
  void Inject(const BatchDims&, const Shape&, const LaneFaults* faults, int8_t* codes) override;
  void AccumulateQuantize(const BatchDims&, const WindowShape&, int bits, const int8_t* x,
                          WeightCodes* weights, const LaneNorm& norm, const LaneFaults* faults,
                          int8_t* codes) override;
  void Add(const BatchDims&, const Shape&, int bits, const std::vector<SumInput>&,
           bool derive_exponent, int* exponent, const LaneFaults* faults, int8_t* codes,
           uint8_t* mask, bool relu_mask) override;
  void Concat(const BatchDims&, const Shape&, int bits, const std::vector<SumInput>&,
              const int* exponent, const LaneFaults* faults, int8_t* codes) override;
  void GlobalSum(const BatchDims&, const Shape& in, bool relu, const int8_t* x,
                 int32_t* acc) override;
  void Linear(const BatchDims&, int in, int out, const int8_t* x, const WeightCodes& weights,
              const float* unit, const float* bias, const uint8_t* keep, float* logits) override;
  void NormBackward(const BatchDims&, const Shape&, const RawMap& acc, const LaneNorm* norms,
                    const float* gamma, const uint8_t* mask, const GradMap& grad, float* grad_gamma,
                    float* grad_beta, NormGradient* deferred, const NormSums* sums) override;
  bool LeavesGradients() const override { return true; }
  bool NarrowsGradients() const override { return TrainingRaw() == RawType::kHalf; }
  void WindowBackward(const BatchDims&, const WindowShape&, const int8_t* x, const int* x_exponent,
                      WeightCodes* weights, const GradMap& grad_y, const NormGradient* norm,
                      const GradMap& grad_x, bool accumulate, float* grad_w,
                      NormSums* sums) override;
  void SumBackward(const BatchDims&, const Shape&, const SumInput&, int channel_offset,
                   const uint8_t* mask, const float* grad_y, float* grad_x,
                   bool accumulate) override;
  void GlobalSumBackward(const BatchDims&, const Shape& in, bool relu, const int8_t* x,
                         const uint8_t* mask, const float* grad_y, float* grad_x,
                         bool accumulate) override;
  void LinearBackward(const BatchDims&, int in, int out, const int8_t* x, const float* x_unit,
                      const WeightCodes& weights, const uint8_t* keep, float keep_scale,
                      const float* grad_logits, float* grad_x, float* grad_w,
                      float* grad_bias) override;

 private:
  // One lane and images [first, first + images) of it.
  struct Task {
    int lane, first, images;
    int64_t at;  // lane * batch + first: index of the first image over all lanes
  };
  struct Worker {
    explicit Worker(const ConvEngine& engine) : conv(engine) {}
    ConvWorker conv;
    DirectConv::Scratch direct;
    PairConv::Scratch pairs;
    DenseScratch dense;
    AlignedBytes x, acc, grad_y, grad_x, wide;
    double convolution_seconds = 0;
  };
  // Per-channel arrays of one lane, expanded to the channel period.
  struct PeriodNorm {
    std::vector<float> scale, shift;
  };

  struct PeriodStats;  // cpu_forward.cc

  // Adds the time until its destruction to the worker's convolution seconds.
  class KernelTimer {
   public:
    explicit KernelTimer(Worker& worker)
        : worker_(worker), start_(std::chrono::steady_clock::now()) {}
    ~KernelTimer() {
      worker_.convolution_seconds +=
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }
    KernelTimer(const KernelTimer&) = delete;
    KernelTimer& operator=(const KernelTimer&) = delete;

   private:
    Worker& worker_;
    std::chrono::steady_clock::time_point start_;
  };
  struct AlignedPart {
    const int8_t* codes = nullptr;
    int shift = 0;
    bool relu = false;
  };

  static std::vector<int> LanesOf(const std::vector<Task>& tasks);
  std::vector<Task> Cut(const BatchDims& b, int64_t elements_per_image) const;
  // Each pass runs through the batch against the direction of the one before: what that one touched
  // last may still lie in a cache.
  void ForTasks(const std::vector<Task>& tasks, const LaneFaults* faults,
                const std::function<void(size_t index, const Task&, Worker&, FaultCounts*)>& body);

  // The convolution's input for a task: codes after ReLU, gathered for strided 1x1 convolutions.
  const void* PrepareInput(const WindowShape& s, const int8_t* x, int images, Worker& w) const;
  void InjectTask(const BatchDims& b, const Task& t, const Shape& s, const LaneFaults* faults,
                  int8_t* codes, FaultCounts* counts) const;
  bool UsesPairs(const WindowShape& s, Worker& w);
  bool OwnGradients(const WindowShape& s) const;
  bool OwnDataGradient(const WindowShape& s) const;
  void PackForward(const WindowShape& s, WeightCodes& weights, Worker& w);
  void PackBackward(const WindowShape& s, WeightCodes& weights, Worker& w);
  template <typename Take>
  void ForSums(const WindowShape& s, const int8_t* x, const WeightCodes& weights, int lane,
               int images, bool stats, Worker& w, const Take& take);
  void AccumulateTask(const WindowShape& s, const Task& t, const int8_t* x,
                      const WeightCodes& weights, const RawMap& acc, const PeriodStats& stats,
                      Worker& w);
  template <typename Raw>
  void QuantizeTask(QuantizePass<Raw> quantize, const BatchDims& b, const Task& t, const Shape& s,
                    int bits, const Raw* acc, const PeriodNorm& norm, const LaneFaults* faults,
                    int8_t* codes, uint8_t* mask, bool relu_mask, FaultCounts* counts) const;
  AlignedPart Align(const SumInput* in, int lane, int aligned, int64_t at, int64_t n,
                    AlignedBytes& scratch) const;
  // The tasks' shares of a convolution's gradients. x: codes of the task's images; gy: what
  // RawGradient or RawGradientBf16 made; dense: where InputGradient says.
  void DepthwiseBackwardTask(const WindowShape& s, const Task& t, const int8_t* x,
                             const PackedLanes& packed, const float* gy, float* dense,
                             float* partial_w, Worker& w);
  void DenseWeightGradientTask(const WindowShape& s, const Task& t, const int8_t* x, const void* gy,
                               float* partial_w, Worker& w);
  void DenseDataGradientTask(const WindowShape& s, const Task& t, const PackedLanes& packed,
                             const void* gy, float* dense, Worker& w);
  void ConvBackwardTask(const WindowShape& s, const Task& t, const int8_t* x,
                        const WeightCodes& weights, const GradMap& grad_y, const NormGradient* norm,
                        float* grad_x, bool accumulate, float* partial_w, Worker& w);
  void PoolBackwardTasks(const WindowShape& s, const std::vector<Task>& tasks, const int8_t* x,
                         const GradMap& grad_y, const NormGradient* norm, float* grad_x,
                         bool accumulate, std::optional<NormSummer>& summer);
  void ConvBackwardTasks(const BatchDims& b, const WindowShape& s, const std::vector<Task>& tasks,
                         const int8_t* x, const int* x_exponent, WeightCodes& weights,
                         const GradMap& grad_y, const NormGradient* norm, const GradMap& grad_x,
                         bool accumulate, float* grad_w, std::optional<NormSummer>& summer);
  const float* RawGradient(const Task& t, const Shape& s, const GradMap& grad,
                           const NormGradient* norm, Worker& w) const;
  const uint16_t* RawGradientBf16(const Task& t, const Shape& s, const GradMap& grad,
                                  const NormGradient* norm, Worker& w) const;
  static float* InputGradient(const WindowShape& s, const Task& t, bool accumulate, Worker& w,
                              float* grad_x);
  void PassInputGradient(const WindowShape& s, const Task& t, const int8_t* x, bool accumulate,
                         const float* dense, float* grad_x) const;
  void ReduceWeightGradient(const WindowShape& s, const std::vector<Task>& tasks, int lanes,
                            const int* x_exponent, const WeightCodes& weights, float* partial,
                            int64_t stride, float* grad_w);
  void MaskBias(const BatchDims& b, const Shape& s, const uint8_t* mask, float* grad,
                float* grad_bias);

  const Elementwise& ops_;
  ThreadPool pool_;
  ConvEngine engine_;
  Depthwise depthwise_;
  std::vector<Worker> workers_;
  bool full_precision_;
  GradPrecision precision_;
  bool backwards_ = false;  // direction of the last pass over the tasks
  AlignedBytes partial_;    // weight gradients of the tasks
  AlignedBytes sums_;       // per-channel sums of the tasks
};

// Faults of one image at one site; a no-op without faults.
void InjectImage(const LaneFaults* faults, int lane, uint32_t image, const Shape& s, int8_t* codes,
                 uint8_t* mask, FaultCounts* counts);

// Pools (kernels/cpu/pool.cc): int8 codes to int32; and for one image, gradients added to gx.
void PoolForward(const Elementwise& ops, const WindowShape& s, int images, const int8_t* x,
                 int32_t* acc, AlignedBytes& scratch);
void PoolBackward(const Elementwise& ops, const WindowShape& s, const int8_t* x,
                  const float* grad_y, float* grad_x, AlignedBytes& scratch);

}  // namespace ftt::cpu
