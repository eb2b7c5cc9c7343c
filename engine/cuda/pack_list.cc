#include "engine/cuda/pack_list.h"

#include <algorithm>

namespace ftt::cuda {

void PackList::Add(const PackJob& job) {
  list_.Add(job, PackItems(job.layout, job.geometry), kPackChunk);
  copies_ = std::max(copies_, job.copies);
}

PackArguments PackList::Stage(Staging& staging) const {
  const JobTables<PackJob> tables = list_.Stage(staging);
  return {tables.jobs, tables.chunks, tables.chunk_count, copies_};
}

}  // namespace ftt::cuda
