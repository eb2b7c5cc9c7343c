// The weights that a network's convolutions read, for one launch.
#pragma once

#include <vector>

#include "engine/cuda/staging.h"
#include "kernels/cuda/pack.h"

namespace ftt::cuda {

class PackList {
 public:
  void Add(const PackJob& job);
  // The tables are on the device after the staging's Send.
  PackArguments Stage(Staging& staging) const;

 private:
  std::vector<PackJob> jobs_;
  std::vector<PackChunk> chunks_;
  int copies_ = 1;
};

}  // namespace ftt::cuda
