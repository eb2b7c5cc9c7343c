// The jobs of one launch (kernels/cuda/jobs.h), cut into chunks, on their way to the device.
#pragma once

#include <vector>

#include "engine/cuda/staging.h"
#include "kernels/cuda/jobs.h"

namespace ftt::cuda {

// In device memory.
template <typename Job>
struct JobTables {
  const Job* jobs = nullptr;
  const JobChunk* chunks = nullptr;
  int chunk_count = 0;
};

template <typename Job>
class JobList {
 public:
  void Add(const Job& job, int items, int chunk_items) {
    for (int first = 0; first < items; first += chunk_items)
      chunks_.push_back({static_cast<int>(jobs_.size()), first});
    jobs_.push_back(job);
  }
  int ChunkCount() const { return static_cast<int>(chunks_.size()); }
  // The tables are on the device after the staging's Send.
  JobTables<Job> Stage(Staging& staging) const {
    const Job* jobs = staging.Add(jobs_);
    return {jobs, staging.Add(chunks_), ChunkCount()};
  }

 private:
  std::vector<Job> jobs_;
  std::vector<JobChunk> chunks_;
};

}  // namespace ftt::cuda
