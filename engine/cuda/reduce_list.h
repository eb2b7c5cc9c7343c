// The sums that make weight gradients of partial sums, for few launches.
#pragma once

#include <vector>

#include "engine/cuda/job_list.h"
#include "kernels/cuda/weight_reduce.h"

namespace ftt::cuda {

class ReduceList {
 public:
  void Add(const WeightReduceArguments& job);
  // What is added from now on belongs to another launch.
  void EndLaunch() { ends_.push_back(list_.ChunkCount()); }
  size_t Launches() const { return ends_.size(); }
  // By launch; the tables are on the device after the staging's Send.
  std::vector<WeightReduceTables> Stage(Staging& staging) const;

 private:
  JobList<WeightReduceArguments> list_;
  std::vector<int> ends_;  // chunks before the end of each launch
};

}  // namespace ftt::cuda
