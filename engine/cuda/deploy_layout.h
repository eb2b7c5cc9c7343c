// Where the values of a deployed network lie in device memory; allocates nothing.
#pragma once

#include <cstdint>

#include "engine/memory_plan.h"
#include "engine/program.h"

namespace ftt::cuda {

struct DeployLayout {
  MemoryPlan values;  // offsets by value
  int64_t sums = 0;   // bytes for the sums of a global pool
  int64_t logits = 0;
};
DeployLayout PlanDeployment(const Program& program, int lanes, int images);

// Bytes of one copy of an op's weights as the kernels want them.
int64_t DeployedWeightBytes(const Program& program, const Op& op);

}  // namespace ftt::cuda
