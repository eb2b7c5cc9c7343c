#include "cli/program.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "cli/config_args.h"
#include "cli/presets.h"
#include "core/error.h"
#include "core/file.h"
#include "tests/data/temp_dir.h"

namespace ftt {

// In place of the built-in ones.
std::span<const Preset> Presets() {
  static constexpr Preset kPresets[] = {
      {"tiny",
       "epochs = 3\nseed = 5\n[train]\nlr = 0.25\nops = [\"a\", \"b\"]\n[eval]\ntrials = 9\n"},
      {"broken", "[train]\nepohcs = 3\n"}};
  return kPresets;
}

namespace {

struct TrainOptions {
  std::string data = "shapes";
  std::string out;
  uint64_t seed = 1;
  int epochs = 10;
  int threads = 0;
  double lr = 0.1;
  std::vector<std::string> ops = {"x", "y"};
  bool resume = false;
  bool nesterov = false;
};

// What the last command was run with, and its configuration.
TrainOptions last;
std::string last_toml;

std::function<int()> SetUpTrain(CLI::App& app) {
  auto o = std::make_shared<TrainOptions>();
  app.add_option("--data", o->data, "Data set");
  app.add_option("--out", o->out, "Folder");
  app.add_option("--seed", o->seed, "Seed");
  app.add_option("--epochs", o->epochs, "Epochs");
  app.add_option("--threads", o->threads, "Threads");
  app.add_option("--lr", o->lr, "Learning rate");
  app.add_option("--ops", o->ops, "Operations")->delimiter(',');
  app.add_flag("--resume", o->resume, "Resume");
  app.add_flag("--nesterov", o->nesterov, "Nesterov momentum");
  app.add_option("--config", "Configuration");
  app.add_option("--preset", "Preset");
  return [o, &app] {
    last = *o;
    last_toml = ResolvedToml(app);
    FTT_CHECK(o->data != "bad", "data set 'bad' is unknown");
    if (o->data == "bug") throw std::logic_error("impossible");
    return o->data == "mismatch" ? kExitMismatch : kExitSuccess;
  };
}

std::function<int()> SetUpEval(CLI::App& app) {
  auto trials = std::make_shared<int>(5);
  app.add_option("--trials", *trials, "Trials");
  app.add_option("--preset", "Preset");
  return [trials] { return kExitSuccess; };
}

constexpr Command kCommands[] = {{"train", "Train", SetUpTrain}, {"eval", "Evaluate", SetUpEval}};

struct Outcome {
  int code;
  std::string out;
  std::string error;
};

Outcome Invoke(const std::vector<std::string>& arguments) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  last = {};
  last_toml.clear();
  const int code = RunProgram(kCommands, arguments);
  std::fflush(stdout);
  std::string out = testing::internal::GetCapturedStdout();
  return {code, std::move(out), testing::internal::GetCapturedStderr()};
}

class ProgramTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) const {
    AtomicWriteFile(dir_ + "/" + name, text);
    return dir_ + "/" + name;
  }
  const TempDir temp_;
  const std::string dir_ = temp_.Path();
};

TEST_F(ProgramTest, ExitCodes) {
  EXPECT_EQ(Invoke({"train"}).code, 0);
  EXPECT_EQ(Invoke({"train", "--data", "mismatch"}).code, 1);
  const Outcome bad = Invoke({"train", "--data", "bad"});
  EXPECT_EQ(bad.code, 2);
  EXPECT_EQ(bad.error, "ftt-cuda: error: data set 'bad' is unknown\n");
  EXPECT_EQ(Invoke({"train", "--data", "bug"}).code, 70);
  EXPECT_EQ(Invoke({}).code, 2);
  const Outcome version = Invoke({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_TRUE(version.out.starts_with("ftt-cuda ")) << version.out;
}

TEST_F(ProgramTest, HelpPages) {
  const Outcome program = Invoke({"--help"});
  EXPECT_EQ(program.code, 0);
  EXPECT_NE(program.out.find("eval"), std::string::npos);
  const Outcome train = Invoke({"train", "--help"});
  EXPECT_EQ(train.code, 0);
  EXPECT_NE(train.out.find("--epochs"), std::string::npos);
  EXPECT_NE(train.out.find("10"), std::string::npos);  // its default
  EXPECT_TRUE(last_toml.empty());
}

TEST_F(ProgramTest, UsageErrorsAreOneLine) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"trian"}, "did you mean 'train'?"},
      {{"--seed", "1"}, "unknown option '--seed' before the command"},
      {{"train", "--epohc", "3"}, "did you mean '--epochs'?"},
      {{"train", "--sed=3"}, "did you mean '--seed'?"},
      {{"train", "stray"}, "unknown argument 'stray'"},
      {{"train", "--epochs", "many"}, "--epochs"},
      {{"train", "--preset", "tinny"}, "did you mean 'tiny'?"},
      {{"train", "--preset", "broken"}, "unknown key 'epohcs'"},
      {{"train", "--config", "/absent/c.toml"}, "/absent/c.toml"},
  };
  for (const auto& [arguments, expected] : cases) {
    const Outcome outcome = Invoke(arguments);
    EXPECT_EQ(outcome.code, 2) << expected;
    EXPECT_NE(outcome.error.find(expected), std::string::npos) << outcome.error;
    EXPECT_TRUE(outcome.error.starts_with("ftt-cuda: error: ")) << outcome.error;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
    EXPECT_TRUE(last_toml.empty()) << expected;
  }
}

TEST_F(ProgramTest, NearerSettingsWin) {
  const std::string path =
      Write("c.toml", "preset = \"tiny\"\nseed = 6\n[train]\nseed = 7\nnesterov = true\n");
  EXPECT_EQ(Invoke({"train", "--config", path}).code, 0);
  EXPECT_EQ(last.epochs, 3);  // preset, top level
  EXPECT_EQ(last.lr, 0.25);   // preset, table
  EXPECT_EQ(last.ops, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(last.seed, 7U);  // file; its table over its top level
  EXPECT_TRUE(last.nesterov);
  EXPECT_EQ(last.data, "shapes");  // default
  EXPECT_EQ(
      Invoke({"train", "--config=" + path, "--seed=8", "--ops", "c", "--nesterov=false"}).code, 0);
  EXPECT_EQ(last.seed, 8U);
  EXPECT_EQ(last.ops, std::vector<std::string>{"c"});
  EXPECT_FALSE(last.nesterov);
  EXPECT_EQ(Invoke({"train", "--config", path, "--preset", "tiny", "--lr", "1"}).code, 0);
  EXPECT_EQ(last.lr, 1);
}

TEST_F(ProgramTest, ConfigMistakesNameTheirPlace) {
  const auto error = [&](const std::string& text) {
    const std::string path = Write("c.toml", text);
    const Outcome outcome = Invoke({"train", "--config", path});
    EXPECT_EQ(outcome.code, 2);
    return outcome.error;
  };
  EXPECT_NE(
      error("seed = 1\nepoch = 2\n").find("c.toml:2: unknown key 'epoch'; did you mean 'epochs'?"),
      std::string::npos);
  EXPECT_NE(error("[trian]\nseed = 1\n").find("unknown table '[trian]'; did you mean 'train'?"),
            std::string::npos);
  // Tables of other commands are checked too; a key of another command may stand at the top level.
  EXPECT_NE(error("[eval]\ntrails = 1\n").find("c.toml:2: unknown key 'trails'"),
            std::string::npos);
  const std::string path = Write("c.toml", "trials = 4\n");
  EXPECT_EQ(Invoke({"train", "--config", path}).code, 0);
  // A bad value is found by the option, which knows nothing of files.
  EXPECT_NE(error("\n\nepochs = \"many\"\n").find("c.toml:3"), std::string::npos);
}

TEST_F(ProgramTest, EmptyTextAndSpecialValuesSurvive) {
  const std::string path = Write("c.toml", "data = \"\"\n");
  EXPECT_EQ(Invoke({"train", "--config", path}).code, 0);
  EXPECT_EQ(last.data, "");
  const std::string other = Write("d.toml", "data = \"--x y=[1, 2]\"\n");
  EXPECT_EQ(Invoke({"train", "--config", other}).code, 0);
  EXPECT_EQ(last.data, "--x y=[1, 2]");
}

TEST_F(ProgramTest, ResolvedConfigReadsBack) {
  EXPECT_EQ(Invoke({"train", "--lr", "3e-4", "--data", "a\"b:c", "--ops", "p,q", "--nesterov",
                    "--out", dir_})
                .code,
            0);
  const std::string toml = last_toml;
  EXPECT_EQ(toml,
            "[train]\n"
            "data = \"a\\\"b:c\"\n"
            "seed = 1\n"
            "epochs = 10\n"
            "lr = 0.0003\n"
            "ops = [\"p\", \"q\"]\n"
            "nesterov = true\n");
  const std::string path = Write("saved.toml", toml);
  EXPECT_EQ(Invoke({"train", "--config", path}).code, 0);
  EXPECT_EQ(last_toml, toml);
  EXPECT_EQ(last.lr, 3e-4);
  EXPECT_EQ(last.data, "a\"b:c");
}

TEST_F(ProgramTest, ResumeTakesTheSavedConfig) {
  Write("config.toml", "[train]\nseed = 42\nlr = 0.5\n");
  EXPECT_EQ(Invoke({"train", "--resume", "--out", dir_, "--threads", "2"}).code, 0);
  EXPECT_EQ(last.seed, 42U);
  EXPECT_EQ(last.lr, 0.5);
  EXPECT_TRUE(last.resume);
  // What is given beside it wins, so that the run can notice the difference.
  EXPECT_EQ(Invoke({"train", "--resume", "--out=" + dir_, "--preset", "tiny"}).code, 0);
  EXPECT_EQ(last.seed, 5U);
  EXPECT_EQ(Invoke({"train", "--out", dir_}).code, 0);
  EXPECT_EQ(last.seed, 1U);
}

}  // namespace
}  // namespace ftt
