// Convolutions and pools of the device's deploy executor.
#include "engine/cuda/cuda_deploy.h"
#include "engine/cuda/layout.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/separable.h"

namespace ftt::cuda {

WindowOutput CudaDeployExecutor::OutputOf(size_t i) {
  const int value = program_.ops[i].output;
  WindowOutput out;
  out.bits = model_.bits;
  out.scale = norms_.As<float>() + constants_[i].scale;
  out.shift = norms_.As<float>() + constants_[i].shift;
  out.one_norm = true;
  out.faults = FaultsAt(value);
  out.codes = DeviceCodes(value);
  return out;
}

DepthwiseArguments CudaDeployExecutor::DepthwiseOf(size_t i) {
  const Op& op = program_.ops[i];
  const uint8_t* weights = weights_.Data() + constants_[i].weights;
  return {GeometryOf(program_, op, lanes_run_, images_), DeviceCodes(op.inputs[0].value),
          reinterpret_cast<const uint32_t*>(weights), constants_[i].one_weight, OutputOf(i)};
}

ConvArguments CudaDeployExecutor::ConvOf(size_t i) {
  const Op& op = program_.ops[i];
  const uint8_t* weights = weights_.Data() + constants_[i].weights;
  return {GeometryOf(program_, op, lanes_run_, images_), DeviceCodes(op.inputs[0].value),
          reinterpret_cast<const int8_t*>(weights), constants_[i].one_weight, OutputOf(i)};
}

void CudaDeployExecutor::RunWindow(size_t i) {
  const Op& op = program_.ops[i];
  if (op.kind == OpKind::kPool) {
    const PoolType type = op.pool == PoolKind::kMax ? PoolType::kMax : PoolType::kAverage;
    Pool({GeometryOf(program_, op, lanes_run_, images_), type, DeviceCodes(op.inputs[0].value),
          OutputOf(i)},
         stream_.Get());
  } else if (IsDepthwise(op)) {
    Depthwise(DepthwiseOf(i), stream_.Get());
  } else {
    Conv(ConvOf(i), stream_.Get());
  }
}

void CudaDeployExecutor::RunSeparable(size_t depthwise, size_t pointwise) {
  SeparableArguments a{DepthwiseOf(depthwise), ConvOf(pointwise)};
  a.depthwise.out.codes = nullptr;
  a.pointwise.x = nullptr;
  Separable(a, stream_.Get());
}

// In order; pairs that lie within [first, last) in one kernel, in the place of the second op.
void CudaDeployExecutor::RunOps(size_t first, size_t last) {
  for (size_t i = first; i < last; ++i) {
    const auto partner = static_cast<size_t>(partners_[i]);  // none is beyond any last
    if (partner < first || partner >= last) {
      RunOp(i);
    } else if (partner < i) {
      RunSeparable(partner, i);
    }
  }
}

}  // namespace ftt::cuda
