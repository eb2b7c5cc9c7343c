// Deploy mode: frozen exponents, batch norm folded to one fma per channel, bit-identical on every
// backend.
#pragma once

#include <memory>
#include <vector>

#include "engine/input_coding.h"
#include "engine/lanes.h"
#include "engine/params.h"
#include "kernels/backend.h"

namespace ftt {

// A network as it would be burnt into a device.
struct DeployModel {
  Program program;
  int bits = 8;
  InputCoding coding;
  std::vector<int> exponents;        // by value
  std::vector<WeightCodes> weights;  // by op, fault-free
  std::vector<LaneNorm> norms;  // by op: windows and global pool; the classifier's bias is `shift`
};

// exponents: by value, from calibration (TrainExecutor::kCalibrate on training images). Throws
// ftt::Error if they do not belong to the program.
DeployModel Freeze(const Program& program, ParamStore& params, const InputCoding& coding,
                   const std::vector<int>& exponents, int bits);

class DeployExecutor {
 public:
  DeployExecutor(Backend& backend, const DeployModel& model);
  ~DeployExecutor();

  // Lanes for the following batches: prepares faulty weights and fault plans. Audit counts restart.
  // recorder (nullable) gets every delivered fault, those of the weights right here.
  void SetLanes(const std::vector<LaneSpec>& lanes, FaultRecorder* recorder = nullptr);
  LanePlan& Lanes();

  // pixels: [images][h][w][c]; image_ids: [images]. Logits: [lanes][images][classes].
  const std::vector<float>& Run(const uint8_t* pixels, const uint32_t* image_ids, int images);

  // The same, one op at a time: Begin, then RunOp(0..ops-1) in order.
  void Begin(const uint8_t* pixels, const uint32_t* image_ids, int images);
  void RunOp(size_t i);
  const std::vector<float>& Logits() const;
  // Codes of a value, [lanes][images][h][w][c]; valid right after the op that wrote it, until its
  // memory is reused.
  const int8_t* Codes(int value) const;
  int64_t CodeCount(int value) const;  // lanes * images * elements

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ftt
