// One convolution's rows: bare, with everything that deploy mode does in the same kernel, and as a
// training step has it, beside cuDNN and beside the same work op by op.
#pragma once

#include <string>
#include <vector>

#include "engine/cuda/bench_bed.h"
#include "engine/cuda/bench_operands.h"
#include "engine/cuda/layout.h"

namespace ftt::cuda {

// Of the input and the weights.
inline constexpr int kXExponent = -5, kWeightExponent = -7;

class ConvBench {
 public:
  ConvBench(BenchBed& bed, const Shape& map, int kernel, int stride, bool depthwise);
  void Run();

 private:
  friend class SeparableBench;  // two of these, side by side and in one kernel

  int64_t Elements() const { return geometry_.Out().LaneElements(); }
  int64_t InBytes() const { return geometry_.In().LaneElements(); }
  int64_t WeightBytes() const { return PackedBytes(geometry_, depthwise_); }
  std::string ShapeText() const;
  KernelBenchRow NewRow(const char* op, const FaultSpec* spec) const;
  void MakeReference();
  // The first and the last image of a map [batch][..], which the reference has.
  template <typename T>
  std::vector<T> Ends(const T* device) const;
  void Convolve(int set, const WindowOutput& out) const;
  WindowOutput RawOutput(int set, bool statistics) const;
  WindowOutput DeployOutput(const SiteFaultsView& faults, int8_t* codes) const;
  void FinishStatistics();
  void QuantizeRaw(int set, const SiteFaultsView& faults, int8_t* codes);
  // Convolution, statistics, codes: what a training step does.
  void Train(int set, const SiteFaultsView& faults);

  void BareRow();
  void MeasurePeers(KernelBenchRow& row);
  bool PeerAgrees(PeerNumbers numbers);
  void RunPeer(PeerNumbers numbers, int set);
  void DeployRow(const FaultSpec& spec);
  void TrainRow(const FaultSpec& spec);
  void RunChain(int set, const SiteFaultsView& faults);
  double ChainSeconds(const SiteFaultsView& faults);
  std::string ChainText() const;
  void CheckTrain(const BenchFaults& faults, KernelBenchRow& row);

  BenchBed& bed_;
  const Program program_;
  const bool depthwise_;
  const WindowGeometry geometry_;
  const int raw_shift_;
  const int sets_;
  std::vector<uint32_t> end_ids_;
  std::vector<int8_t> x_;
  WeightCodes weights_;
  std::vector<int32_t> acc_;  // of the first and last image
  LaneNorm norm_;
  SetMemory device_x_, codes_, mask_, raw_;
  // Op by op: half-precision operands, wide raw outputs, half-precision maps.
  SetMemory half_x_, wide_, normalized_, struck_, rectified_;
  DeviceMemory plain_weights_, half_weights_, packed_, scale_, shift_;
  DeviceMemory moments_, norm_memory_, exponents_, sums_, affine_, largest_;
  bool has_chain_peer_ = false;
  PeerNumbers chain_peer_ = PeerNumbers::kHalf;
  double clean_deploy_us_ = 0, clean_train_us_ = 0;
};

template <typename T>
std::vector<T> ConvBench::Ends(const T* device) const {
  const int64_t image = Elements() / geometry_.images;
  std::vector<T> both = Download(device, image, bed_.S());
  const std::vector<T> last = Download(device + Elements() - image, image, bed_.S());
  bed_.Wait();
  both.insert(both.end(), last.begin(), last.end());
  return DenseRows(both, geometry_.out_channels);
}

}  // namespace ftt::cuda
