// The weights that a network's convolutions read, for one launch.
#pragma once

#include "engine/cuda/job_list.h"
#include "kernels/cuda/pack.h"

namespace ftt::cuda {

class PackList {
 public:
  void Add(const PackJob& job);
  // The tables are on the device after the staging's Send.
  PackArguments Stage(Staging& staging) const;

 private:
  JobList<PackJob> list_;
  int copies_ = 1;
};

}  // namespace ftt::cuda
