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

// By value: 1 where ops from `op` on read it and none of them wrote it.
std::vector<char> ReadByOpsFrom(const Program& program, size_t op);

class DeployExecutor {
 public:
  virtual ~DeployExecutor() = default;

  // Lanes for the following batches: prepares faulty weights and fault plans. Audit counts restart.
  // recorder (nullable) gets every delivered fault, those of the weights right here.
  virtual void SetLanes(const std::vector<LaneSpec>& lanes, FaultRecorder* recorder = nullptr) = 0;
  // Their audit counts are those of all batches so far.
  virtual LanePlan& Lanes() = 0;

  // pixels: [images][h][w][c]; image_ids: [images]. Logits: [lanes][images][classes].
  virtual const std::vector<float>& Run(const uint8_t* pixels, const uint32_t* image_ids,
                                        int images);

  // The same, one op at a time: Begin, then RunOp(0..ops-1) in order.
  virtual void Begin(const uint8_t* pixels, const uint32_t* image_ids, int images) = 0;
  virtual void RunOp(size_t i) = 0;
  virtual const std::vector<float>& Logits() = 0;
  // Codes of a value, [lanes][images][h][w][c]; valid right after the op that wrote it, until its
  // memory is reused.
  virtual const int8_t* Codes(int value) = 0;

  int64_t CodeCount(int value) const;  // lanes * images * elements

 protected:
  explicit DeployExecutor(const Program& program) : program_(program) {}

  const Program& program_;
  int lanes_ = 1, images_ = 0;  // of the batch that Begin began
};

// On the host. backend and model must outlive it.
std::unique_ptr<DeployExecutor> MakeDeployExecutor(Backend& backend, const DeployModel& model);

}  // namespace ftt
