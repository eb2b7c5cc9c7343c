#include "engine/cuda/layout.h"

#include "core/error.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/input.h"
#include "kernels/cuda/separable.h"
#include "kernels/cuda/sum.h"

namespace ftt::cuda {

MapShape MapOf(const Shape& s, int lanes, int images) { return {lanes, images, s.h, s.w, s.c}; }

WindowGeometry GeometryOf(const Program& program, const Op& op, int lanes, int images) {
  const Shape& in = program.values[static_cast<size_t>(op.inputs[0].value)];
  const Shape& out = program.values[static_cast<size_t>(op.output)];
  WindowGeometry g;
  g.lanes = lanes;
  g.images = images;
  g.in_h = in.h;
  g.in_w = in.w;
  g.in_channels = in.c;
  g.out_h = out.h;
  g.out_w = out.w;
  g.out_channels = out.c;
  g.kernel = op.conv.kernel;
  g.stride = op.conv.stride;
  g.dilation = op.conv.dilation;
  g.origin = op.conv.offset - op.conv.pad;
  g.relu = op.inputs[0].relu;
  return g;
}

bool IsDepthwise(const Op& op) { return op.kind == OpKind::kConv && op.conv.groups > 1; }

int64_t PackedBytes(const WindowGeometry& g, bool depthwise) {
  return depthwise ? int64_t{4} * PackedDepthwiseWords(g) : PackedConvBytes(g);
}

std::vector<int> SeparablePartners(const Program& program) {
  std::vector<int> reads(program.values.size()), writer(program.values.size(), -1);
  for (const Op& op : program.ops) {
    for (const OpInput& in : op.inputs) ++reads[static_cast<size_t>(in.value)];
  }
  std::vector<int> partners(program.ops.size(), -1);
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    writer[static_cast<size_t>(op.output)] = static_cast<int>(i);
    if (op.kind != OpKind::kConv || IsDepthwise(op)) continue;
    const auto middle = static_cast<size_t>(op.inputs[0].value);
    const int before = writer[middle];
    if (before < 0 || reads[middle] != 1) continue;
    const Op& first = program.ops[static_cast<size_t>(before)];
    if (!IsDepthwise(first) ||
        !FusesSeparable(GeometryOf(program, first, 1, 1), GeometryOf(program, op, 1, 1)))
      continue;
    partners[i] = before;
    partners[static_cast<size_t>(before)] = static_cast<int>(i);
  }
  return partners;
}

void CheckSupported(const Program& program) {
  FTT_CHECK(program.InputShape().c <= kMaxInputChannels,
            "network {}: {} input channels; the cuda backend takes at most {}", program.network,
            program.InputShape().c, kMaxInputChannels);
  for (const Op& op : program.ops) {
    const Shape& in = op.inputs.empty() ? program.values[static_cast<size_t>(op.output)]
                                        : program.values[static_cast<size_t>(op.inputs[0].value)];
    const int groups = op.conv.groups;
    FTT_CHECK(op.kind != OpKind::kConv || groups == 1 || groups == in.c,
              "network {}, op {}: {} groups; the cuda backend takes dense and depthwise "
              "convolutions",
              program.network, op.name, groups);
    FTT_CHECK(op.inputs.size() <= static_cast<size_t>(kMaxSumInputs),
              "network {}, op {}: {} inputs; the cuda backend takes at most {}", program.network,
              op.name, op.inputs.size(), kMaxSumInputs);
    FTT_CHECK(op.kind != OpKind::kLinear || (in.h == 1 && in.w == 1) || in.c % kChannelPad == 0,
              "network {}, op {}: a classifier over a map of {} channels; the cuda backend wants a "
              "multiple of {}",
              program.network, op.name, in.c, kChannelPad);
  }
}

std::vector<int8_t> CodeTable(const InputCoding& coding, int channels) {
  const auto n = static_cast<size_t>(channels);
  std::vector<uint8_t> pixels(256 * n);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i / n);
  std::vector<int8_t> codes(pixels.size()), table(pixels.size());
  coding.Encode(pixels.data(), static_cast<int64_t>(pixels.size()), codes.data());
  for (size_t i = 0; i < codes.size(); ++i) table[i % n * 256 + i / n] = codes[i];
  return table;
}

}  // namespace ftt::cuda
