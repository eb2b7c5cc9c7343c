// The primitives of the search space as ops of a program. Used by cell.cc only.
#pragma once

#include <string>

#include "engine/program.h"

namespace ftt {

// Halves the resolution (rounding up) without a pooling: two 1x1 convolutions of stride 2, on the
// even pixels and on the odd ones, with ReLU on load and a batch norm each, concatenated to
// `channels` (the first has channels/2 of them, rounded down). On an odd map the last odd row and
// column lie outside and read as zero. Returns the value number.
int FactorizedReduce(ProgramBuilder& builder, const std::string& name, int input, int channels,
                     bool affine);

// Appends one primitive other than `none` with `channels` in and out and returns its value number;
// `skip_connect` of stride 1 appends nothing and returns `input`. Throws ftt::Error on an unknown
// primitive.
int AppendPrimitive(ProgramBuilder& builder, const std::string& name, const std::string& primitive,
                    int input, int channels, int stride, bool affine);

}  // namespace ftt
