// Lists of faults drawn ahead against what the reference's sampler strikes.
#include "kernels/cuda/strikes.h"

#include <algorithm>
#include <tuple>

#include "faults/fault_list.h"
#include "tests/cuda/layout.h"

namespace ftt::cuda::test {
namespace {

struct StrikesCase {
  const char* name;
  Shape map;
  std::vector<std::string> specs;  // one per lane; "" is clean
  int bits = 8;

  friend void PrintTo(const StrikesCase& c, std::ostream* out) { *out << c.name; }
};

const StrikesCase kCases[] = {
    {"one_value", {1, 1, 1}, {"mibb:0.03", ""}},
    {"one_channel", {40, 40, 1}, {"mibb:0.01"}},
    {"few_arrivals", {32, 32, 20}, {"mibb:0.00001", "mibb:0.0001", "mibb:0.0005"}},
    {"thread_per_tile", {64, 64, 17}, {"mibb:0.0001"}},
    {"two_threads_per_tile", {64, 64, 9}, {"mibb:0.0004"}},
    {"warp_per_tile", {32, 32, 16}, {"mibb:0.008", "", "mibb:0.01"}},
    {"several_rounds", {16, 16, 24}, {"mibb:0.05,sampler=sparse", "mibb:0.0001"}},
    {"elements_repeat", {9, 7, 33}, {"mibb:0.3,sampler=sparse"}},
    {"fills_its_list", {16, 16, 16}, {"stuck-feature:0.99,sampler=sparse"}},
    {"five_bits", {12, 12, 20}, {"mibb:0.02", "mibb:0.02,bit=4"}, 5},
    {"windows_of_images", {16, 16, 20}, {"mibb:0.01,lifetime=intermittent,window=2"}},
    {"permanent", {16, 16, 20}, {"stuck-feature:0.02", "stuck-feature:0.02,value=1"}},
    {"most_channels", {1, 2, 2048}, {"mibb:0.01"}},
    {"odd_map", {3, 341, 7}, {"mibb:0.01"}},
};

using Hit = std::tuple<size_t, uint32_t, int64_t, uint32_t, uint32_t>;  // lane, image, element, ...

class CudaStrikesTest : public ::testing::TestWithParam<StrikesCase> {
 protected:
  std::vector<Hit> Wanted() const {
    std::vector<Hit> hits;
    for (size_t l = 0; l < case_.specs.size(); ++l) {
      const LaneFaults& lane = plans_.Host()[l];
      if (lane.faults->Empty()) continue;
      for (uint32_t i = 0; i < ids_.size(); ++i) {
        FaultRecorder recorder;
        std::vector<int8_t> codes(static_cast<size_t>(case_.map.Elements()));
        InjectFeatureRef(*lane.faults, lane.moment, ids_[i], codes.data(), case_.map.Elements(),
                         case_.map.c, nullptr, lane.counts, &recorder);
        for (const FaultRow& row : recorder.TakeSorted())
          hits.emplace_back(l, i, row.element, row.cell, row.value);
      }
    }
    return hits;
  }
  std::vector<Hit> Drawn(const StrikeList& list) const {
    std::vector<Hit> hits;
    const std::vector<uint32_t> words = plans_.Strikes();
    for (size_t w = 0; w < words.size(); ++w) {
      const auto slot = static_cast<int>(w % static_cast<size_t>(list.slots));
      const size_t tile_of_all = w / static_cast<size_t>(list.slots);
      const size_t map = tile_of_all / static_cast<size_t>(list.tiles);
      const size_t lane = map / ids_.size();
      if ((list.lanes >> lane & 1) == 0) continue;  // never written
      if (words[w] == kNoStrike) continue;
      const StruckCode hit = StruckCode::Of(words[w]);
      EXPECT_EQ(words[w], hit.Word());
      EXPECT_TRUE(slot == 0 || words[w - 1] != kNoStrike) << "a gap in a list";
      EXPECT_LT(hit.channel, static_cast<uint32_t>(case_.map.c));
      const int64_t element = int64_t{hit.pixel} * case_.map.c + hit.channel;
      EXPECT_EQ(element / kTileElements,
                static_cast<int64_t>(tile_of_all % static_cast<size_t>(list.tiles)));
      hits.emplace_back(lane, static_cast<uint32_t>(map % ids_.size()), element, hit.cell, hit.one);
    }
    std::sort(hits.begin(), hits.end());
    return hits;
  }

  const StrikesCase case_ = GetParam();
  const std::vector<uint32_t> ids_ = {7, 8, 1000003};
  LanePlans plans_{case_.specs, case_.map, case_.bits, /*training=*/false, ids_};
};

TEST_P(CudaStrikesTest, ListsHoldWhatTheReferenceStrikes) {
  ASSERT_TRUE(plans_.CanListAll());
  std::vector<Hit> want = Wanted();
  std::sort(want.begin(), want.end());
  if (case_.map.Elements() > 1) {
    EXPECT_FALSE(want.empty()) << "the faults of this case never hit";
  }
  InBothOrders([&] { EXPECT_EQ(want, Drawn(plans_.DrawLists())); });
}

TEST_P(CudaStrikesTest, CountsWhatTheReferenceCounts) {
  Wanted();
  plans_.DrawLists();
  plans_.CheckCounts();
}

INSTANTIATE_TEST_SUITE_P(All, CudaStrikesTest, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

FaultStep FirstStep(const char* spec, const Shape& map) {
  FaultSite site{1, "site", SiteKind::kConv, 9, map.h, map.w, map.c, map.Elements()};
  FaultStep step = PlanSite(ParseFaultSpec(spec), site, 8, 1).steps.at(0);
  step.count_thresholds = nullptr;  // the plan that they belong to is gone
  step.count_guide = nullptr;
  return step;
}

TEST(CudaStrikesPlanTest, ListsOnlyWhatAWordCanName) {
  const MapShape map{1, 1, 8, 8, 16};
  const Shape shape{8, 8, 16};
  EXPECT_TRUE(CanList(FirstStep("mibb:0.01", shape), map));
  EXPECT_TRUE(CanList(FirstStep("stuck-feature:0.01", shape), map));
  EXPECT_FALSE(CanList(FirstStep("mibb:0.01,sampler=dense", shape), map));
  EXPECT_FALSE(CanList(FirstStep("ibf-feature:0.01", shape), map)) << "several faults of a code";
  EXPECT_FALSE(CanList(FirstStep("lane-stuck:0.1", shape), map));
  EXPECT_FALSE(CanList(FirstStep("mibb:0.01", shape), {1, 1, 1, 1, 2049}));
  EXPECT_FALSE(CanList(FirstStep("mibb:0.01", shape), {1, 1, 512, 256, 1}));
}

TEST(CudaStrikesPlanTest, ThreadsShareATileAsItsArrivalsWant) {
  const auto share = [](const char* spec, const Shape& map) {
    const FaultSite site{1, "site", SiteKind::kConv, 9, map.h, map.w, map.c, map.Elements()};
    const SiteFaults faults = PlanSite(ParseFaultSpec(spec), site, 8, 1);
    return MakeStrikeJob({1, 1, map.h, map.w, map.c}, faults.steps).share_log2;
  };
  EXPECT_EQ(share("mibb:0.00005", {64, 64, 32}), 0);
  EXPECT_EQ(share("mibb:0.0005", {64, 64, 32}), 1);
  EXPECT_EQ(share("mibb:0.01", {64, 64, 32}), 5);
  EXPECT_EQ(share("mibb:0.00005", {8, 8, 64}), 3) << "four tiles, eight threads each";
}

}  // namespace
}  // namespace ftt::cuda::test
