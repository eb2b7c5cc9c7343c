// Faults at some sites only, and what lanes share.
#include <gtest/gtest.h>

#include <cstring>

#include "engine/evaluate.h"
#include "tests/engine/engine_util.h"

namespace ftt {
namespace {

using test::EveryOpNetwork;
using test::FreshModel;
using test::HostDevice;
using test::Noise;

class SitesTest : public ::testing::Test {
 protected:
  SitesTest()
      : program_(EveryOpNetwork({8, 8, 3})),
        images_(Noise({8, 8, 3}, 3)),
        device_(HostDevice("cpu")),
        model_(FreshModel(*device_, program_, images_)) {}

  SiteFilter None() const {
    return {std::vector<char>(program_.values.size()), std::vector<char>(program_.ops.size())};
  }
  std::vector<LaneSpec> Lanes(const FaultSpec& spec, const SiteFilter& filter) const {
    std::vector<LaneSpec> lanes(3);
    for (size_t l = 0; l < lanes.size(); ++l) {
      lanes[l].faults = &spec;
      lanes[l].sites = &filter;
      lanes[l].seed = 4;
      lanes[l].moment.trial = static_cast<uint32_t>(l);
    }
    return lanes;
  }
  // Logits with the ops before the first fault shared by all lanes, and op by op without sharing.
  void ExpectSharingChangesNothing(const FaultSpec& spec, const SiteFilter& filter) {
    const std::vector<uint32_t> ids = {0, 1, 2};
    const auto shared = device_->NewDeployExecutor(model_),
               plain = device_->NewDeployExecutor(model_);
    const std::vector<LaneSpec> lanes = Lanes(spec, filter);
    shared->SetLanes(lanes);
    plain->SetLanes(lanes);
    const std::vector<float> got = shared->Run(images_.pixels.data(), ids.data(), 3);
    plain->Begin(images_.pixels.data(), ids.data(), 3);
    for (size_t i = 0; i < program_.ops.size(); ++i) plain->RunOp(i);
    ASSERT_EQ(got.size(), plain->Logits().size());
    EXPECT_EQ(0, std::memcmp(got.data(), plain->Logits().data(), got.size() * sizeof(float)));
    for (int lane = 0; lane < 3; ++lane) {
      EXPECT_EQ(shared->Lanes().TotalCounts(lane).delivered,
                plain->Lanes().TotalCounts(lane).delivered);
    }
  }

  Program program_;
  ImageSet images_;
  std::unique_ptr<Device> device_;
  DeployModel model_;
};

TEST_F(SitesTest, LanesShareWhatNoFaultHasTouchedWhereverTheFirstFaultLies) {
  const FaultSpec features = ParseFaultSpec("ibf-feature:0.02");
  const FaultSpec weights = ParseFaultSpec("ibf-weight:0.05");
  for (size_t i = 0; i < program_.ops.size(); ++i) {
    SCOPED_TRACE(program_.ops[i].name);
    SiteFilter one = None();
    one.features[static_cast<size_t>(program_.ops[i].output)] = 1;
    one.weights[i] = 1;
    ExpectSharingChangesNothing(features, one);
    if (program_.ops[i].weight >= 0) ExpectSharingChangesNothing(weights, one);
  }
  ExpectSharingChangesNothing(features, None());
  SiteFilter input = None();
  input.features[0] = 1;
  ExpectSharingChangesNothing(features, input);
  ExpectSharingChangesNothing(features, {});
}

TEST_F(SitesTest, OnlyTheAllowedSitesAreStruckAndWithTheSameFaults) {
  const FaultSpec spec = ParseFaultSpec("ibf-feature:0.02+ibf-weight:0.05");
  LanePlan all(program_, Lanes(spec, {}), 8);
  SiteFilter filter = None();
  const auto value = static_cast<size_t>(program_.ops[2].output);
  filter.features[value] = 1;
  filter.weights[0] = 1;
  LanePlan some(program_, Lanes(spec, filter), 8);
  for (size_t v = 0; v < program_.values.size(); ++v)
    EXPECT_EQ(some.Feature(static_cast<int>(v)) != nullptr, v == value) << v;
  for (size_t i = 0; i < program_.ops.size(); ++i) EXPECT_EQ(some.HasWeightFaults(i), i == 0) << i;
  EXPECT_EQ(some.FirstFaultyOp(program_), 0u);
  std::vector<int8_t> a(40, 3), b = a;
  all.InjectLaneWeights(0, 1, a.data(), 40, nullptr);
  some.InjectLaneWeights(0, 1, b.data(), 40, nullptr);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, std::vector<int8_t>(40, 3));
}

TEST_F(SitesTest, MaskedImagesAreThoseWhoseLogitsAreTheGoldenOnes) {
  const FaultSpec spec = ParseFaultSpec("ibf-feature:0.02");
  Evaluator evaluator(*device_, model_, images_, 2, 0);
  EvaluateOptions options;
  options.trials = 2;
  const SiteFilter none = None();
  options.sites = &none;
  for (const TrialResult& t : evaluator.RunTrials(&spec, options)) {
    EXPECT_EQ(t.masked, 3);
    EXPECT_EQ(t.changed, 0);
  }
  options.sites = nullptr;
  for (const TrialResult& t : evaluator.RunTrials(&spec, options)) EXPECT_EQ(t.masked, 0);
  EXPECT_TRUE(evaluator.RunTrials(&spec, options, nullptr, nullptr, [] { return true; }).empty());
}

}  // namespace
}  // namespace ftt
