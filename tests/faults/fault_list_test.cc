#include "faults/fault_list.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "core/error.h"
#include "tests/faults/fault_test_util.h"

namespace ftt {
namespace {

class FaultList : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ =
        std::filesystem::temp_directory_path() / fmt::format("ftt_{}_{}", test->name(), getpid());
    std::filesystem::create_directories(folder_);
    path_ = (folder_ / "faults.csv").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
  std::string path_;
};

constexpr const char* kSpecs[] = {"mibb:0.05",
                                  "ibf-feature:0.05",
                                  "stuck-feature:0.1",
                                  "lane-stuck:0.03,mode=bit,bit=7",
                                  "lane-stuck:0.03,mode=max",
                                  "mibb:0.1+ibf-feature:0.05+mibb:0.1+stuck-feature:0.1",
                                  "adsaf:0.3",
                                  "adsaf-bit:0.1",
                                  "ibf-weight:0.05",
                                  "gauss-weight:0.3",
                                  "adsaf:0.3+adsaf:0.3+gauss-weight:0.2+ibf-weight:0.01"};

TEST_F(FaultList, AnExportedListReplaysToTheSameCodes) {
  for (const char* spec : kSpecs) {
    if (IsWeightModel(spec)) continue;
    for (const int bits : {8, 5}) {
      FaultSite site = SiteFor(spec, 1700);
      site.c = 17;
      if (bits == 5 && std::string(spec).find("bit=7") != std::string::npos) continue;
      const SiteFaults faults = Plan(spec, site, 3, bits);
      FaultRecorder recorder;
      std::vector<std::vector<int8_t>> sampled(6, MixedCodes(1700, bits));
      for (uint32_t i = 0; i < 6; ++i) {
        Inject(faults, site, {.trial = i / 3}, i % 3, sampled[i], nullptr, &recorder);
      }
      const std::vector<FaultRow> rows = recorder.TakeSorted();
      ASSERT_FALSE(rows.empty()) << spec;
      WriteFaultList(path_, rows);
      ASSERT_EQ(ReadFaultList(path_), rows) << spec;

      const ReplayPlan plan(ReadFaultList(path_));
      EXPECT_EQ(plan.Sites(), std::vector<int>{site.id});
      const SiteFaults replay = plan.Site(site, bits);
      ASSERT_FALSE(replay.Empty());
      FaultRecorder again;
      FaultCounts counts;
      for (uint32_t i = 0; i < 6; ++i) {
        std::vector<int8_t> codes = MixedCodes(1700, bits);
        Inject(replay, site, {.trial = i / 3}, i % 3, codes, &counts, &again);
        ASSERT_EQ(codes, sampled[i]) << spec << " image " << i;
      }
      EXPECT_EQ(counts.delivered, rows.size());
      EXPECT_EQ(again.TakeSorted(), rows) << spec;
    }
  }
}

TEST_F(FaultList, WeightListsReplay) {
  for (const char* spec : kSpecs) {
    if (!IsWeightModel(spec)) continue;
    const FaultSite site = WeightSite(1700);
    FaultRecorder recorder;
    std::vector<int8_t> sampled = MixedCodes(1700), replayed = sampled;
    std::vector<uint8_t> moved(1700), moved_again(1700);
    InjectWeights(Plan(spec, site), {.trial = 2}, sampled.data(), 1700, moved.data(), nullptr,
                  &recorder);
    const std::vector<FaultRow> rows = recorder.TakeSorted();
    InjectWeights(ReplayPlan(rows).Site(site, 8), {.trial = 2}, replayed.data(), 1700,
                  moved_again.data(), nullptr, nullptr);
    EXPECT_EQ(sampled, replayed) << spec;
    EXPECT_EQ(moved, moved_again) << spec;
  }
}

TEST_F(FaultList, ReplayedBiasesStopTheGradientWhereTheySaturate) {
  const FaultSite site = FeatureSite(1700);
  std::vector<int8_t> sampled = MixedCodes(1700), replayed = sampled;
  std::vector<uint8_t> pass(213, 0xFF), pass_again(213, 0xFF);
  FaultRecorder recorder;
  InjectFeature(Plan("mibb:0.5", site), {}, 4, sampled.data(), 1700, 1, pass.data(), nullptr,
                &recorder);
  InjectFeature(ReplayPlan(recorder.TakeSorted()).Site(site, 8), {}, 4, replayed.data(), 1700, 1,
                pass_again.data(), nullptr, nullptr);
  EXPECT_EQ(pass, pass_again);
  EXPECT_NE(pass, std::vector<uint8_t>(213, 0xFF));
}

TEST_F(FaultList, OtherSitesTrialsAndImagesGetNothing) {
  FaultRow row;
  row.trial = 1;
  row.image = 2;
  row.site = 5;
  row.element = 9;
  row.cell = 3;
  row.value = 1;
  row.new_code = 8;
  const ReplayPlan plan({row});
  EXPECT_TRUE(plan.Site(FeatureSite(10, 1, 1, 6), 8).Empty());
  const FaultSite site = FeatureSite(10);
  const SiteFaults faults = plan.Site(site, 8);
  const auto run = [&](uint32_t trial, uint32_t image) {
    std::vector<int8_t> codes(10);
    Inject(faults, site, {.trial = trial}, image, codes);
    return codes[9];
  };
  EXPECT_EQ(run(1, 2), 8);
  EXPECT_EQ(run(0, 2), 0);
  EXPECT_EQ(run(1, 1), 0);
  EXPECT_EQ(run(1, 3), 0);
  EXPECT_THROW(plan.Site(FeatureSite(9), 8), Error);   // element 9 of 9
  EXPECT_THROW(plan.Site(FeatureSite(10), 4), Error);  // code 8 of 4 bits
}

TEST_F(FaultList, BadRowsNameFileAndLine) {
  const std::string header = "trial,site,image,element,term,kind,bit,value,old,new\n";
  const std::string good = "0,5,0,9,0,mibb,3,1,0,8\n";
  const auto error = [&](const std::string& text) -> std::string {
    std::ofstream(path_, std::ios::binary) << text;
    try {
      ReadFaultList(path_);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(error(header + good), "");
  EXPECT_EQ(error(header + "0,5,0,9,0,mibb,3,1,0,8\r\n"), "");
  EXPECT_EQ(error(header), "");
  for (const char* bad :
       {"0,5,0,9,0,mibb,3,1,0", "0,5,0,9,0,mibb,3,1,0,8,9", "", "x,5,0,9,0,mibb,3,1,0,8",
        "-1,5,0,9,0,mibb,3,1,0,8", "0,65535,0,9,0,mibb,3,1,0,8", "0,5,0,9,4,mibb,3,1,0,8",
        "0,5,0,9,0,mobb,3,1,0,8", "0,5,0,9,0,mibb,8,1,0,8", "0,5,0,9,0,adsaf,2,1,0,8",
        "0,5,0,9,0,mibb,3,2,0,8", "0,5,0,9,0,mibb,3,1,0,128", "0,5,0,9,0,mibb,3,1,0,8 "}) {
    const std::string message = error(header + good + bad + "\n" + good);
    EXPECT_NE(message.find(path_ + ":3: "), std::string::npos) << bad << " gave: " << message;
  }
  EXPECT_NE(error("").find(":1: "), std::string::npos);
  EXPECT_NE(error("trial,site\n").find(":1: "), std::string::npos);
  EXPECT_THROW(ReadFaultList(path_ + ".missing"), Error);
  EXPECT_THROW(ReadFaultList(folder_.string()), Error);
  EXPECT_THROW(WriteFaultList((folder_ / "missing" / "faults.csv").string(), {}), Error);
}

TEST_F(FaultList, ThreadsShareARecorder) {
  const FaultSite site = FeatureSite(20000);
  const SiteFaults faults = Plan("mibb:0.05", site);
  FaultRecorder together, alone;
  std::vector<std::thread> threads;
  for (uint32_t image = 0; image < 4; ++image) {
    threads.emplace_back([&, image] {
      std::vector<int8_t> codes(20000);
      Inject(faults, site, {}, image, codes, nullptr, &together);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint32_t image = 0; image < 4; ++image) {
    std::vector<int8_t> codes(20000);
    Inject(faults, site, {}, image, codes, nullptr, &alone);
  }
  EXPECT_EQ(together.TakeSorted(), alone.TakeSorted());
  EXPECT_EQ(together.Size(), 0u);
  FaultRecorder tiny(100);
  std::vector<int8_t> codes(20000);
  EXPECT_THROW(Inject(faults, site, {}, 0, codes, nullptr, &tiny), Error);
}

}  // namespace
}  // namespace ftt
