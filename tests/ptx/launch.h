// Runs a program's blocks, one after another.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/ptx/program.h"

namespace ftt::ptx {

struct LaunchSize {
  unsigned grid[3] = {1, 1, 1};
  unsigned threads = 0;
  size_t shared_bytes = 0;  // dynamic
};

// `parameters`: the program's, laid out as its parameters are. Counts what ran where `counts` is
// not null (one entry for each instruction). Throws ftt::Error for what hardware leaves undefined:
// an access to memory that is not the kernel's, or that is not aligned, a barrier or a warp
// operation that a part of its threads never reaches.
void Run(const Program& program, const LaunchSize& size, const std::vector<uint8_t>& parameters,
         std::vector<Count>* counts);

}  // namespace ftt::ptx
