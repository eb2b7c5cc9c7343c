#include "campaign/summary.h"

#include <algorithm>
#include <map>

#include "core/error.h"

namespace ftt {
namespace {

// Estimate of shares, or of their differences: nothing lies outside [low, high].
MeanEstimate Within(MeanEstimate e, double low, double high) {
  e.interval = {std::max(e.interval.low, low), std::min(e.interval.high, high)};
  return e;
}

double Share(int64_t count, int64_t images) {
  return static_cast<double>(count) / static_cast<double>(images);
}

void CheckImages(int64_t images) {
  FTT_CHECK(images > 0, "a summary of trials over {} images", images);
}

}  // namespace

PointSummary Summarise(const std::vector<TrialRow>& trials, const NetworkRow& network,
                       int64_t images, double confidence, int stopped_at) {
  CheckImages(images);
  FTT_CHECK(!trials.empty(), "network {}: a summary needs at least one trial", network.name);
  const auto shares_of = [&](int64_t TrialRow::*count) {
    std::vector<double> shares;
    for (const TrialRow& t : trials) shares.push_back(Share(t.*count, images));
    return shares;
  };
  const auto estimate = [&](int64_t TrialRow::*count) {
    return Within(EstimateTrials(shares_of(count), confidence), 0, 1);
  };
  PointSummary s;
  s.accuracy = std::ssize(trials) == stopped_at
                   ? Within(EstimateStopped(shares_of(&TrialRow::correct), confidence), 0, 1)
                   : estimate(&TrialRow::correct);
  s.sdc1 = estimate(&TrialRow::sdc1);
  s.sdc5 = estimate(&TrialRow::sdc5);
  s.masked = estimate(&TrialRow::masked);
  s.due = estimate(&TrialRow::due);
  uint64_t exposed = 0, delivered = 0;
  for (const TrialRow& t : trials) {
    exposed += t.exposed;
    delivered += t.delivered;
  }
  if (exposed > 0) s.delivered_rate = static_cast<double>(delivered) / static_cast<double>(exposed);
  s.golden_accuracy = Share(network.golden_correct, images);
  return s;
}

MeanEstimate PairedDifference(const std::vector<TrialRow>& a, const std::vector<TrialRow>& b,
                              int64_t images, double confidence) {
  CheckImages(images);
  std::map<int, int64_t> correct_b;
  for (const TrialRow& t : b) correct_b.emplace(t.trial, t.correct);
  std::vector<double> differences;
  for (const TrialRow& t : a) {
    const auto found = correct_b.find(t.trial);
    if (found != correct_b.end()) differences.push_back(Share(t.correct - found->second, images));
  }
  if (differences.empty()) return {};
  return Within(EstimateTrials(differences, confidence), -1, 1);
}

}  // namespace ftt
