#include "engine/networks/cell_ops.h"

#include "core/error.h"

namespace ftt {
namespace {

// ReLU, depthwise, pointwise, batch norm. The depthwise result goes to the feature buffer without a
// batch norm.
int DepthwiseSeparable(ProgramBuilder& builder, const std::string& name, const std::string& part,
                       int input, int kernel, int stride, int dilation, bool affine) {
  ProgramBuilder::ConvOptions depthwise;
  depthwise.kernel = kernel;
  depthwise.stride = stride;
  depthwise.dilation = dilation;
  depthwise.depthwise = true;
  depthwise.relu = true;
  depthwise.batch_norm = false;
  const int middle = builder.Conv(name + ".dw" + part, input, 0, depthwise);
  ProgramBuilder::ConvOptions pointwise;
  pointwise.affine = affine;
  return builder.Conv(name + ".pw" + part, middle, builder.ShapeOf(middle).c, pointwise);
}

int ReluConvBn(ProgramBuilder& builder, const std::string& name, int input, int channels,
               int kernel, int stride, bool affine) {
  ProgramBuilder::ConvOptions conv;
  conv.kernel = kernel;
  conv.stride = stride;
  conv.relu = true;
  conv.affine = affine;
  return builder.Conv(name, input, channels, conv);
}

int BiasedConv1x1(ProgramBuilder& builder, const std::string& name, int input, int channels,
                  int stride) {
  ProgramBuilder::ConvOptions conv;
  conv.stride = stride;
  conv.bias = true;
  conv.batch_norm = false;
  return builder.Conv(name, input, channels, conv);
}

int PoolWithNorm(ProgramBuilder& builder, const std::string& name, PoolKind kind, int input,
                 int stride, bool affine) {
  ProgramBuilder::PoolOptions pool;
  pool.stride = stride;
  pool.batch_norm = true;
  pool.affine = affine;
  return builder.Pool(name, kind, input, pool);
}

}  // namespace

int FactorizedReduce(ProgramBuilder& builder, const std::string& name, int input, int channels,
                     bool affine) {
  ProgramBuilder::ConvOptions conv;
  conv.stride = 2;
  conv.relu = true;
  conv.affine = affine;
  const int even = builder.Conv(name + ".even", input, channels / 2, conv);
  conv.offset = 1;
  const int odd = builder.Conv(name + ".odd", input, channels - channels / 2, conv);
  return builder.Concat(name + ".join", {{even, false}, {odd, false}});
}

int AppendPrimitive(ProgramBuilder& builder, const std::string& name, const std::string& primitive,
                    int input, int channels, int stride, bool affine) {
  if (primitive == "skip_connect") {
    return stride == 1 ? input : FactorizedReduce(builder, name, input, channels, affine);
  }
  if (primitive == "max_pool_3x3") {
    return PoolWithNorm(builder, name, PoolKind::kMax, input, stride, affine);
  }
  if (primitive == "avg_pool_3x3") {
    return PoolWithNorm(builder, name, PoolKind::kAverage, input, stride, affine);
  }
  if (primitive == "conv_1x1") return BiasedConv1x1(builder, name, input, channels, stride);
  const int kernel =
      primitive.size() > 3 && primitive.substr(primitive.size() - 3) == "5x5" ? 5 : 3;
  if (primitive == "sep_conv_3x3" || primitive == "sep_conv_5x5") {
    const int half = DepthwiseSeparable(builder, name, "1", input, kernel, stride, 1, affine);
    return DepthwiseSeparable(builder, name, "2", half, kernel, 1, 1, affine);
  }
  if (primitive == "dil_conv_3x3" || primitive == "dil_conv_5x5") {
    return DepthwiseSeparable(builder, name, "", input, kernel, stride, 2, affine);
  }
  if (primitive == "relu_conv_bn_3x3" || primitive == "relu_conv_bn_5x5") {
    return ReluConvBn(builder, name, input, channels, kernel, stride, affine);
  }
  Fail("op {}: unknown primitive '{}'", name, primitive);
}

}  // namespace ftt
