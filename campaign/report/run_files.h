// What a search or a training left in its run folder, as plain data.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ftt {

// One epoch of events.jsonl. Accuracies are shares of images; NaN where the run computed none.
struct EpochRecord {
  int epoch = 0;
  double loss = 0, accuracy = 0, fault_accuracy = 0;
  double seconds = 0;
  // Training.
  double fault_loss = 0, delivered_rate = 0, learning_rate = 0;
  // Search; means over the epoch's proposals.
  int proposals = 0;
  double reward = 0, reward_clean = 0, reward_fault = 0, entropy = 0;
};

struct CandidateRecord {
  std::string genotype;
  double clean = 0, fault = 0, penalty = 0, reward = 0;
};

struct SearchRecord {
  CandidateRecord best, random_best;
  std::vector<CandidateRecord> derived;
  std::vector<double> reward_trace;  // of every proposal, in order
  int64_t reward_evaluations = 0;
  std::optional<double> mean_drawn, mean_random;  // older runs do not know
  double mflops = 0, parameters = 0;
  std::string collapse_warning;
};

struct TrainRecord {
  int64_t test_images = 0;
  double clean_accuracy = 0;
  std::optional<double> train_mode_accuracy;
  std::string faults;
  std::vector<double> trials;  // accuracies
};

struct RunRecord {
  std::string path;
  bool is_search = false;                      // else a training
  std::string config;                          // config.toml
  std::map<std::string, std::string> options;  // of it; elements of arrays joined by ", "
  std::vector<EpochRecord> epochs;             // at least one
  std::optional<SearchRecord> search;          // of a finished search
  std::optional<TrainRecord> train;            // of a finished training

  // The option's value, "" where the configuration has none.
  std::string Option(const std::string& name) const;
};

// Whether the folder holds a configuration of a search or a training.
bool HoldsRun(const std::string& path);

// Throws ftt::Error, with file and line, where something is missing, is not JSON or lacks a value.
// A last line of events.jsonl without a line end is left out: its writer was killed or is at work.
RunRecord ReadRun(const std::string& path);

}  // namespace ftt
