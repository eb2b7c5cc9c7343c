#include "engine/cuda/pack_list.h"

#include <algorithm>

namespace ftt::cuda {

void PackList::Add(const PackJob& job) {
  const int items = PackItems(job.layout, job.geometry);
  for (int first = 0; first < items; first += kPackChunk)
    chunks_.push_back({static_cast<int>(jobs_.size()), first});
  jobs_.push_back(job);
  copies_ = std::max(copies_, job.copies);
}

PackArguments PackList::Stage(Staging& staging) const {
  const PackJob* jobs = staging.Add(jobs_);
  return {jobs, staging.Add(chunks_), static_cast<int>(chunks_.size()), copies_};
}

}  // namespace ftt::cuda
