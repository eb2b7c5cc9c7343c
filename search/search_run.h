// A search in its folder: epochs, events, checkpoints, resume, the found genotype and the report.
#pragma once

#include <functional>
#include <string>

#include "search/search.h"

namespace ftt {

struct SearchRunConfig {
  std::string out;  // run folder
  bool resume = false;
  std::string config_text;  // resolved options as TOML
  SearchConfig search;
  double checkpoint_minutes = 5;
};

struct SearchRunResult {
  bool finished = false;  // false: stopped by a signal, checkpoint written
  int64_t step = 0;
  SearchOutcome outcome;
  std::string genotype_file;
  double mflops = 0, parameters = 0;  // of the found network with batch norms affine
  double seconds = 0;                 // of this process
  int64_t images = 0;
};

struct SearchObserver {
  // Epoch (1-based), steps done in it, steps in all, sums, seconds since this process began the
  // epoch.
  std::function<void(int, int64_t, int64_t, const EpochSums&, double)> step;
  std::function<void(const SearchEpoch&)> epoch;
  std::function<void()> deriving;  // the epochs are over
};

// Throws ftt::Error on bad input before anything is written.
SearchRunResult RunSearch(Device& device, const Dataset& data, const SearchRunConfig& config,
                          const SearchObserver& observer);

}  // namespace ftt
