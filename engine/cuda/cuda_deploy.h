// Deploy mode on a GPU.
#pragma once

#include <memory>
#include <vector>

#include "engine/cuda/deploy_layout.h"
#include "engine/cuda/device_faults.h"
#include "engine/cuda/graph_cache.h"
#include "engine/deploy.h"

namespace ftt::cuda {

struct ConvArguments;
struct DepthwiseArguments;
struct WindowOutput;

// Faulty weights are prepared on the host, everything else happens on the device. Faults of
// features cannot be recorded. Run computes what no fault has touched once for all lanes, and is a
// graph where batches of one shape come again.
class CudaDeployExecutor final : public DeployExecutor {
 public:
  CudaDeployExecutor(const DeployModel& model, bool graphs);

  void SetLanes(const std::vector<LaneSpec>& lanes, FaultRecorder* recorder) override;
  LanePlan& Lanes() override;
  // Where two ops can share a kernel, they do; op by op they never do.
  const std::vector<float>& Run(const uint8_t* pixels, const uint32_t* image_ids,
                                int images) override;
  void Begin(const uint8_t* pixels, const uint32_t* image_ids, int images) override;
  void RunOp(size_t i) override;
  const std::vector<float>& Logits() override;
  const int8_t* Codes(int value) override;

 private:
  const Shape& ShapeOf(int value) const { return program_.values[static_cast<size_t>(value)]; }
  int8_t* DeviceCodes(int value) {
    return arena_.As<int8_t>() + layout_.values.offsets[static_cast<size_t>(value)];
  }
  const int* Exponent(int value) const {
    return exponents_.As<int>() + static_cast<int64_t>(value) * lanes_;
  }
  void PlanArena();
  void Stage(const uint8_t* pixels, const uint32_t* image_ids, int images);
  void EncodeInput();
  void DrawStrikesBeside();
  SiteFaultsView FaultsAt(int value);
  void Enqueue();
  void SpreadFirstLane();
  GraphKey BatchKey() const;
  void UploadNorms();
  void UploadWeights();
  // cuda_deploy_window.cc
  void RunOps(size_t first, size_t last);
  void RunWindow(size_t i);
  void RunSeparable(size_t depthwise, size_t pointwise);
  WindowOutput OutputOf(size_t i);
  DepthwiseArguments DepthwiseOf(size_t i);
  ConvArguments ConvOf(size_t i);
  // cuda_deploy.cc
  void RunSum(const Op& op);
  void RunGlobalPool(size_t i);
  void RunLinear(size_t i);

  struct OpConstants {
    int64_t scale = 0, shift = 0;  // floats into norms_
    int64_t weights = 0;           // bytes into weights_: packed, or the classifier's plain codes
    bool one_weight = true;
  };

  const DeployModel& model_;
  const std::vector<int> partners_;  // SeparablePartners
  Stream stream_{true}, draw_stream_;
  Milestone batch_ready_, drawn_;
  bool drawing_ = false;  // in draw_stream_, which has not been waited for
  Staging lane_staging_, batch_staging_;
  std::unique_ptr<LanePlan> lane_plan_;
  std::unique_ptr<DeviceFaults> faults_;
  GraphCache graphs_;
  size_t shared_ops_ = 0;  // the first ops, which compute the same on all lanes
  int lanes_run_ = 1;      // by the ops that are being enqueued
  std::vector<OpConstants> constants_;
  DeviceMemory norms_, weights_, exponents_, units_, table_, hits_;
  DeviceMemory arena_, sums_, logits_memory_, strikes_;
  DeployLayout layout_;
  int planned_lanes_ = 0, planned_images_ = 0;
  const uint8_t* pixels_ = nullptr;
  const uint32_t* image_ids_ = nullptr;
  int64_t images_run_ = 0;  // since the hits were last taken
  std::vector<float> logits_;
  std::vector<int8_t> codes_;
};

}  // namespace ftt::cuda
