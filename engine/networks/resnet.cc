// Residual networks. A sum is stored before its ReLU; every consumer, the next sum included,
// applies it on load.
#include <string>
#include <vector>

#include "core/error.h"
#include "engine/networks/fixed.h"

namespace ftt {
namespace {

int Conv(ProgramBuilder& builder, const std::string& name, int input, int channels, int kernel,
         int stride, bool relu) {
  ProgramBuilder::ConvOptions conv;
  conv.kernel = kernel;
  conv.stride = stride;
  conv.relu = relu;
  return builder.Conv(name, input, channels, conv);
}

int BasicBlock(ProgramBuilder& builder, const std::string& name, int input, int channels,
               int stride) {
  const int first = Conv(builder, name + ".conv1", input, channels, 3, stride, true);
  const int second = Conv(builder, name + ".conv2", first, channels, 3, 1, true);
  OpInput shortcut = {input, true};
  if (stride != 1 || builder.ShapeOf(input).c != channels) {
    shortcut = {Conv(builder, name + ".shortcut", input, channels, 1, stride, true), false};
  }
  return builder.Add(name, {{second, false}, shortcut});
}

Program BuildResNet(const std::string& name, Shape input, int classes,
                    const std::vector<int>& widths, int blocks) {
  ProgramBuilder builder(name, input, classes);
  int x = Conv(builder, "stem", 0, widths[0], 3, 1, false);
  for (size_t stage = 0; stage < widths.size(); ++stage) {
    for (int block = 0; block < blocks; ++block) {
      const int stride = stage > 0 && block == 0 ? 2 : 1;
      x = BasicBlock(builder, fmt::format("stage{}.block{}", stage + 1, block + 1), x,
                     widths[stage], stride);
    }
  }
  builder.Linear("classifier", builder.GlobalPool("pool", {x, true}));
  return std::move(builder).Finish();
}

}  // namespace

Program BuildResNet20(Shape input, int classes) {
  return BuildResNet("resnet-20", input, classes, {16, 32, 64}, 3);
}

Program BuildResNet18(Shape input, int classes) {
  return BuildResNet("resnet-18", input, classes, {64, 128, 256, 512}, 2);
}

}  // namespace ftt
