// Builders of the fixed networks; networks.cc has the table. All take input [h, w, c] of at least
// 8x8 pixels.
#pragma once

#include "engine/program.h"

namespace ftt {

// He et al., CVPR'16, CIFAR form: 3 stages of 3 basic blocks, 16-32-64 channels. Shortcuts that
// change shape are 1x1 convolutions with batch norm (option B): 0.272 M parameters, 0.003 M more
// than with option A.
Program BuildResNet20(Shape input, int classes);
// Four stages of 2 basic blocks, 64-128-256-512 channels, 3x3 stem of stride 1, 1x1 shortcuts with
// batch norm.
Program BuildResNet18(Shape input, int classes);
// Simonyan and Zisserman, configuration D with batch norm, without the hidden fully connected
// layers. Maps that have shrunk to one pixel are not pooled further.
Program BuildVgg16(Shape input, int classes);
// Sandler et al., CVPR'18, in the CIFAR form behind the stated 2.3 M parameters and 182 MFLOPs:
// stem and second stage of stride 1, and a 1x1 shortcut with batch norm where a block of stride 1
// changes the width (without those four shortcuts it would be 2.24 M and 176 MFLOPs). ReLU in place
// of ReLU6: the exponent bounds the range already.
Program BuildMobileNetV2(Shape input, int classes);
// One op of every kind in a few thousand parameters; for tests and first runs.
Program BuildTinyCnn(Shape input, int classes);

}  // namespace ftt
