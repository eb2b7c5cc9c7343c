// Options that `train` and `search` share: optimizer, schedule, augmentation, cell networks.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "data/augment.h"
#include "data/dataset.h"
#include "engine/networks/cell.h"
#include "engine/optimizer.h"

namespace ftt {

struct TrainingOptions {
  int epochs = 10, batch = 64, bits = 8;
  int64_t limit = 0;
  OptimizerOptions optimizer;
  Schedule schedule;
  bool augment = true;
  AugmentOptions augmentation;
};
void AddTrainingOptions(CLI::App& app, TrainingOptions& options);

void AddCellOptions(CLI::App& app, CellNetOptions& options);

// The augmentation for a data set: digits are never mirrored, cutouts are filled with the mean
// colour.
AugmentOptions Augmentation(const TrainingOptions& options, const Dataset& data);

}  // namespace ftt
