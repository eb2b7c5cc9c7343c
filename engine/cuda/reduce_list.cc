#include "engine/cuda/reduce_list.h"

namespace ftt::cuda {

void ReduceList::Add(const WeightReduceArguments& job) {
  list_.Add(job, static_cast<int>(job.n), ReduceChunkWeights(job.rows));
}

std::vector<WeightReduceTables> ReduceList::Stage(Staging& staging) const {
  const JobTables<WeightReduceArguments> all = list_.Stage(staging);
  std::vector<WeightReduceTables> launches;
  int first = 0;
  for (const int end : ends_) {
    launches.push_back({all.jobs, all.chunks + first, end - first});
    first = end;
  }
  return launches;
}

}  // namespace ftt::cuda
