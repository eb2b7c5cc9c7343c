// One launch for many small jobs: a table of jobs, and one of parts of about equal work.
#pragma once

namespace ftt::cuda {

// A part of a job, from its item `first` on.
struct JobChunk {
  int job = 0, first = 0;
};

}  // namespace ftt::cuda
