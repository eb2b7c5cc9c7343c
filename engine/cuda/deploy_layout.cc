#include "engine/cuda/deploy_layout.h"

#include <algorithm>

#include "engine/cuda/layout.h"

namespace ftt::cuda {

DeployLayout PlanDeployment(const Program& program, int lanes, int images) {
  DeployLayout layout;
  std::vector<BufferRequest> requests;
  for (const Shape& s : program.values) {
    const MapShape map = MapOf(s, lanes, images);
    requests.push_back({map.lanes * map.LaneElements(), 0, 0});
  }
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    const int step = static_cast<int>(i) + 1;
    BufferRequest& out = requests[static_cast<size_t>(op.output)];
    out.first = out.last = step;
    for (const OpInput& in : op.inputs) requests[static_cast<size_t>(in.value)].last = step;
    if (op.kind == OpKind::kGlobalPool) layout.sums = std::max(layout.sums, 4 * out.bytes);
  }
  const std::vector<int> partners = SeparablePartners(program);
  for (size_t i = 0; i < partners.size(); ++i) {
    // A pair reads its input while it writes its output.
    if (partners[i] < static_cast<int>(i)) continue;
    int& last = requests[static_cast<size_t>(program.ops[i].inputs[0].value)].last;
    last = std::max(last, partners[i] + 1);
  }
  layout.values = PlanMemory(requests);
  layout.logits = int64_t{4} * lanes * images * program.classes;
  return layout;
}

int64_t DeployedWeightBytes(const Program& program, const Op& op) {
  if (op.kind == OpKind::kLinear) return program.params[static_cast<size_t>(op.weight)].Elements();
  return PackedBytes(GeometryOf(program, op, 1, 1), IsDepthwise(op));
}

}  // namespace ftt::cuda
