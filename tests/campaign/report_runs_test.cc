#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "campaign/report/run_files.h"
#include "campaign/report/run_pages.h"
#include "campaign/report/write_report.h"
#include "core/file.h"
#include "tests/data/temp_dir.h"

namespace ftt {
namespace {

constexpr char kTrainConfig[] =
    "[train]\nnetwork = \"resnet-20\"\ndata = \"shapes\"\nfault = \"mibb:1e-4\"\n"
    "fault-loss-coeff = 0.7\nepochs = 2\nmilestones = [0.4, 0.8]\nseed = 1\n";
constexpr char kTrainEvent[] =
    R"({"event":"epoch","step":10,"epoch":1,"loss":1.5,"accuracy":0.5,"fault_loss":1.75,)"
    R"("fault_accuracy":0.375,"delivered_rate":0.003,"lr":0.05,"seconds":30.0})";
constexpr char kTrainResult[] =
    R"({"event":"result","step":10,"test_images":10000,"clean_accuracy":0.5312,"faults":"mibb:1e-04",)"
    R"("trials":[0.491,0.4946,0.4975,0.4923,0.4943]})";
constexpr char kSearchEvent[] =
    R"({"event":"epoch","step":10,"epoch":1,"loss":2.25,"accuracy":0.15,"fault_accuracy":0.125,)"
    R"("proposals":0,"reward":{"clean":0.0,"fault":0.0,"penalty":0.0,"value":0.0},"entropy":1.6,"seconds":5}
{"event":"epoch","step":20,"epoch":2,"loss":2.0,"accuracy":0.25,"fault_accuracy":0.25,"proposals":4,)"
    R"("reward":{"clean":0.5,"fault":0.25,"penalty":0.0,"value":0.375},"entropy":1.5,"seconds":5})";

void Write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

void WriteTraining(const std::string& dir) {
  Write(dir + "/config.toml", kTrainConfig);
  Write(dir + "/events.jsonl", std::string(kTrainEvent) + "\n");
  Write(dir + "/result.json", kTrainResult);
}

std::string SearchReport(const std::string& genotype, double best, double random) {
  const auto candidate = [&](double reward) {
    return "{\"genotype\":\"" + genotype +
           "\",\"reward\":{\"clean\":0.5,\"fault\":0.25,\"penalty\":0,\"value\":" +
           std::to_string(reward) + "}}";
  };
  return "{\"best\":" + candidate(best) + ",\"random_best\":" + candidate(random) +
         ",\"reward_evaluations\":12,\"mean_reward_drawn\":0.25,\"mean_reward_random\":0.125,"
         "\"mflops\":1.5,\"parameters\":2048,\"collapse_warning\":\"it "
         "fell\","
         "\"derived\":[" +
         candidate(best) + "],\"reward_trace\":[0.25,0.5,0.375]}";
}

TEST(RunFiles, ReadsATraining) {
  const TempDir temp;
  WriteTraining(temp / "run");
  const RunRecord run = ReadRun(temp / "run");
  EXPECT_FALSE(run.is_search);
  EXPECT_EQ(run.Option("fault"), "mibb:1e-4");
  EXPECT_EQ(run.Option("milestones"), "0.4, 0.8");
  EXPECT_EQ(run.Option("nothing"), "");
  ASSERT_EQ(run.epochs.size(), 1U);
  EXPECT_EQ(run.epochs[0].fault_loss, 1.75);
  ASSERT_TRUE(run.train);
  EXPECT_EQ(run.train->trials.size(), 5U);
}

TEST(RunFiles, LeavesOutALineThatIsBeingWritten) {
  const TempDir temp;
  WriteTraining(temp / "run");
  Write(temp / "run/events.jsonl", std::string(kTrainEvent) + "\n{\"event\":\"epo");
  EXPECT_EQ(ReadRun(temp / "run").epochs.size(), 1U);
}

TEST(RunFiles, NamesFileAndLineOfDamage) {
  const TempDir temp;
  WriteTraining(temp / "run");
  Write(temp / "run/events.jsonl", std::string(kTrainEvent) + "\n{\"event\":\"epo\n");
  EXPECT_ERROR(ReadRun(temp / "run"), "run/events.jsonl:2: is not a JSON object");
  Write(temp / "run/events.jsonl", "{\"event\":\"epoch\",\"epoch\":\"x\"}\n");
  EXPECT_ERROR(ReadRun(temp / "run"), "run/events.jsonl:1: 'epoch'");
  Write(temp / "run/events.jsonl", "[1]\n");
  EXPECT_ERROR(ReadRun(temp / "run"), "run/events.jsonl:1: is not a JSON object");
  Write(temp / "run/events.jsonl", "");
  EXPECT_ERROR(ReadRun(temp / "run"), "run/events.jsonl: holds no finished epoch");
  WriteTraining(temp / "run");
  Write(temp / "run/result.json", "{\"test_images\":10000}");
  EXPECT_ERROR(ReadRun(temp / "run"), "run/result.json: 'clean_accuracy'");
}

TEST(TrainSection, HasTheEssentialFiguresFirst) {
  const TempDir temp;
  WriteTraining(temp / "run");
  const Section s = TrainSection(ReadRun(temp / "run"), "run");
  EXPECT_EQ(s.headline, "49.4 % (49.1..49.7) under mibb:1e-4; clean 53.1 %");
  EXPECT_TRUE(s.warnings.empty());
  const auto& accuracy = std::get<Chart>(s.blocks.at(1));
  ASSERT_EQ(accuracy.series.size(), 2U);
  EXPECT_EQ(accuracy.series[1].name, "faulty");
  EXPECT_EQ(accuracy.series[1].points.at(0).y, 37.5);
}

TEST(TrainSection, TellsLanesThatWereNotThere) {
  const TempDir temp;
  WriteTraining(temp / "run");
  RunRecord run = ReadRun(temp / "run");
  run.options["fault-loss-coeff"] = "1";
  EXPECT_EQ(std::get<Chart>(TrainSection(run, "r").blocks.at(1)).series.at(0).name, "faulty");
  run.epochs[0].fault_loss = run.epochs[0].fault_accuracy = run.epochs[0].delivered_rate = 0;
  run.train.reset();
  const Section s = TrainSection(run, "r");
  const auto& accuracy = std::get<Chart>(s.blocks.at(1));
  ASSERT_EQ(accuracy.series.size(), 1U);
  EXPECT_EQ(accuracy.series[0].name, "clean");
  EXPECT_EQ(s.headline, "Not finished: epoch 1 of 2, 50.0 % clean");
  ASSERT_EQ(s.warnings.size(), 1U);
}

TEST(TrainSection, SaysWhereATrainingDiverged) {
  const TempDir temp;
  WriteTraining(temp / "run");
  std::string bad = kTrainEvent;
  bad.replace(bad.find("\"loss\":1.5"), 10, "\"loss\":null");
  bad.replace(bad.find("\"epoch\":1"), 9, "\"epoch\":2");
  Write(temp / "run/events.jsonl", std::string(kTrainEvent) + "\n" + bad + "\n");
  const Section s = TrainSection(ReadRun(temp / "run"), "r");
  ASSERT_EQ(s.warnings.size(), 1U);
  EXPECT_NE(s.warnings[0].find("from epoch 2 on"), std::string::npos) << s.warnings[0];
}

TEST(SearchSection, ComparesWithRandom) {
  const TempDir temp;
  Write(temp / "s/config.toml",
        "[search]\nfault = \"mibb:1e-4\"\nstrategy = \"reinforce\"\nepochs = 2\nfault-loss-coeff = "
        "0.5\n");
  Write(temp / "s/events.jsonl", std::string(kSearchEvent) + "\n");
  Write(temp / "s/report.json", SearchReport("<script>alert(1)</script>", 0.375, 0.5));
  const RunRecord run = ReadRun(temp / "s");
  const Section s = SearchSection(run, "s", "ftt-no-such-dot");
  EXPECT_EQ(s.headline, "Reward 0.375: 50.0 % clean, 25.0 % under mibb:1e-4; best of random 0.500");
  ASSERT_EQ(s.warnings.size(), 2U);
  EXPECT_EQ(s.warnings[0], "Collapse: it fell.");
  EXPECT_NE(s.warnings[1].find("No better than chance"), std::string::npos);
  bool found = false;
  for (const Block& b : s.blocks) {
    const auto* chart = std::get_if<Chart>(&b);
    if (chart == nullptr || chart->title != "Accuracy of proposed architectures") continue;
    found = true;
    EXPECT_TRUE(std::isnan(chart->series.at(0).points.at(0).y));  // warm-up proposes nothing
    EXPECT_EQ(chart->series.at(0).points.at(1).y, 50.0);
    EXPECT_EQ(chart->series.at(1).points.at(1).y, 25.0);
  }
  EXPECT_TRUE(found);
  const auto drawn = std::find_if(s.figures.begin(), s.figures.end(), [](const Figure& f) {
    return f.label == "Mean reward of draws";
  });
  ASSERT_NE(drawn, s.figures.end());
  EXPECT_EQ(drawn->value, "0.250");
  EXPECT_EQ(drawn->note, "0.125 of random ones, same batch");
}

TEST(SearchSection, BinsRewards) {
  std::vector<double> rewards;
  for (int i = 0; i < 25; ++i) rewards.push_back(i);
  const auto points = BinRewards(rewards, 3);  // groups of 9
  ASSERT_EQ(points.size(), 3U);
  EXPECT_EQ(points[0].x, 9);
  EXPECT_EQ(points[0].y, 4);
  EXPECT_EQ(points[0].low, 1);
  EXPECT_EQ(points[0].high, 7);
  EXPECT_EQ(points[2].x, 25);
  EXPECT_EQ(points[2].y, 21);
  EXPECT_TRUE(std::isnan(BinRewards({0.5}, 3).at(0).low));
  EXPECT_TRUE(BinRewards({}, 3).empty());
}

TEST(WriteReport, NamesRunsApart) {
  EXPECT_EQ(ShortNames({"/a/x/run", "/a/y/run", "/a/other/", "/a/c/campaign.sqlite"}),
            (std::vector<std::string>{"x/run", "y/run", "other", "c"}));
  EXPECT_EQ(ShortNames({"/a/x/r/run", "/a/y/r/run"}),
            (std::vector<std::string>{"x/r/run", "y/r/run"}));
}

TEST(WriteReport, WritesOnePageOfSeveralRuns) {
  const TempDir temp;
  WriteTraining(temp / "a/run");
  WriteTraining(temp / "b/run");
  ReportOptions options;
  options.inputs = {temp / "a/run", temp / "b/run"};
  options.out = temp / "new/report.html";
  const WrittenReport written = WriteReport(options);
  EXPECT_EQ(written.sections, 2U);
  EXPECT_EQ(written.charts, 6U);
  const std::string html = ReadFile(options.out);
  EXPECT_NE(html.find("Trainings side by side"), std::string::npos);
  EXPECT_NE(html.find("<a href=\"#s2-b-run\">b/run</a>"), std::string::npos);
}

TEST(WriteReport, LeavesAnOldPageAloneWhenItFails) {
  const TempDir temp;
  WriteTraining(temp / "run");
  ReportOptions options;
  options.out = temp / "report.html";
  Write(options.out, "old");
  options.inputs = {temp / "nothing"};
  EXPECT_ERROR(WriteReport(options), "does not exist");
  Write(temp / "empty/x", "");
  options.inputs = {temp / "empty"};
  EXPECT_ERROR(WriteReport(options), "neither a run");
  options.inputs = {temp / "run", temp / "./run/"};
  EXPECT_ERROR(WriteReport(options), "given twice");
  Write(temp / "text.sqlite", "no database");
  options.inputs = {temp / "text.sqlite"};
  EXPECT_ERROR(WriteReport(options), "text.sqlite");
  EXPECT_EQ(ReadFile(options.out), "old");
  options.inputs = {temp / "run"};
  options.out = temp.Path();
  EXPECT_ERROR(WriteReport(options), "is a folder");
  options.out = temp / "report.html/x.html";
  EXPECT_ERROR(WriteReport(options), "not a folder");
}

}  // namespace
}  // namespace ftt
