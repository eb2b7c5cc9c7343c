// MobileNet-V2. The bottleneck's projection is linear: its output is stored and consumed without a
// ReLU.
#include <string>

#include "core/error.h"
#include "engine/networks/fixed.h"

namespace ftt {
namespace {

int InvertedResidual(ProgramBuilder& builder, const std::string& name, int input, int channels,
                     int expansion, int stride, bool input_relu) {
  const int in_channels = builder.ShapeOf(input).c;
  int x = input;
  bool relu = input_relu;
  ProgramBuilder::ConvOptions conv;
  if (expansion != 1) {
    conv.relu = relu;
    x = builder.Conv(name + ".expand", x, expansion * in_channels, conv);
    relu = true;
  }
  ProgramBuilder::ConvOptions depthwise;
  depthwise.kernel = 3;
  depthwise.stride = stride;
  depthwise.depthwise = true;
  depthwise.relu = relu;
  x = builder.Conv(name + ".dw", x, 0, depthwise);
  conv.relu = true;
  x = builder.Conv(name + ".project", x, channels, conv);
  if (stride != 1) return x;
  OpInput shortcut = {input, input_relu};
  if (in_channels != channels) {
    conv.relu = input_relu;
    shortcut = {builder.Conv(name + ".shortcut", input, channels, conv), false};
  }
  return builder.Add(name, {{x, false}, shortcut});
}

}  // namespace

Program BuildMobileNetV2(Shape input, int classes) {
  struct Stage {
    int expansion, channels, blocks, stride;
  };
  constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 1},  {6, 32, 3, 2}, {6, 64, 4, 2},
                               {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  ProgramBuilder builder("mobilenet-v2", input, classes);
  ProgramBuilder::ConvOptions conv;
  conv.kernel = 3;
  int x = builder.Conv("stem", 0, 32, conv);
  bool relu = true;  // only the stem's output needs one
  for (int s = 0; s < 7; ++s) {
    for (int b = 0; b < kStages[s].blocks; ++b) {
      const int stride = b == 0 ? kStages[s].stride : 1;
      x = InvertedResidual(builder, fmt::format("stage{}.block{}", s + 1, b + 1), x,
                           kStages[s].channels, kStages[s].expansion, stride, relu);
      relu = false;
    }
  }
  conv = {};
  x = builder.Conv("head", x, 1280, conv);
  builder.Linear("classifier", builder.GlobalPool("pool", {x, true}));
  return std::move(builder).Finish();
}

}  // namespace ftt
