// What the trials of a point say: means, rates and their intervals.
#pragma once

#include <vector>

#include "campaign/store.h"
#include "core/statistics.h"

namespace ftt {

struct PointSummary {
  MeanEstimate accuracy;                 // over trials, in [0, 1]
  MeanEstimate sdc1, sdc5, masked, due;  // shares of images, over trials
  double delivered_rate = 0;             // faults per exposed unit
  double golden_accuracy = 0;
};
// trials: at least one. images: of a trial. The unit of replication is the trial: images of one
// trial share a chip. stopped_at: CampaignStore::StoppedAt of the point; its accuracy's interval is
// EstimateStopped where the trials are those that the rule asked for.
PointSummary Summarise(const std::vector<TrialRow>& trials, const NetworkRow& network,
                       int64_t images, double confidence, int stopped_at = 0);

// Accuracy of a minus that of b over the trials that both have: equal numbers are the same faults.
// count 0 where there are none.
MeanEstimate PairedDifference(const std::vector<TrialRow>& a, const std::vector<TrialRow>& b,
                              int64_t images, double confidence);

}  // namespace ftt
