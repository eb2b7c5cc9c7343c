#include "campaign/store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <thread>

#include "core/error.h"
#include "core/file.h"
#include "tests/data/temp_dir.h"

namespace ftt {
namespace {

using Access = CampaignStore::Access;

class StoreTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name = "c.sqlite") const { return dir_ / name; }
  static NetworkRow Network(const std::string& name) {
    NetworkRow n;
    n.hash = "hash of " + name;
    n.name = name;
    n.architecture = "resnet-20";
    n.trained_with = "mibb:0.0001";
    n.multiply_adds = 41'000'000'000;
    n.parameters = 270'000;
    n.bits = 7;
    n.golden_correct = 93;
    return n;
  }
  static TrialRow Trial(int number, int64_t correct) {
    TrialRow t;
    t.trial = number;
    t.correct = correct;
    t.sdc1 = 5;
    t.sdc5 = 4;
    t.masked = 3;
    t.due = 2;
    t.exposed = 5'000'000'000'000;
    t.delivered = 123;
    t.backend = "cpu";
    t.version = "9.9";
    t.seconds = 1.5;
    return t;
  }
  template <typename Body>
  static void ExpectError(const Body& body, const std::string& part) {
    const std::string message = ErrorOf(body);
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }

  TempDir dir_;
};

TEST_F(StoreTest, GivesBackWhatWasStored) {
  {
    CampaignStore store(Path(), Access::kCreate);
    EXPECT_FALSE(store.Key().has_value());
    store.SetKey({"cifar10", "abc", 100, 0xFFFF'FFFF'FFFF'FFFFull});
    const int64_t a = store.AddNetwork(Network("a")), b = store.AddNetwork(Network("b"));
    EXPECT_NE(a, b);
    EXPECT_EQ(store.AddNetwork(Network("a")), a);
    const int64_t high = store.AddPoint({0, a, "mibb:*", "mibb:0.001", 1e-3, ""});
    const int64_t low = store.AddPoint({0, a, "mibb:*", "mibb:0.0001", 1e-4, ""});
    const int64_t layer = store.AddPoint({0, a, "mibb:*", "mibb:0.001", 1e-3, "layer:conv1"});
    EXPECT_EQ(store.AddPoint({0, a, "mibb:*", "mibb:0.001", 1e-3, ""}), high);
    store.AddTrials(high, {Trial(1, 50), Trial(0, 60)});
    store.AddTrials(high, {Trial(0, 99), Trial(2, 70)});  // 0 is there: left alone
    store.AddTrials(layer, {Trial(0, 1)});
    EXPECT_TRUE(store.Trials(low).empty());
    store.SetNote("command", "it's \"quoted\"");
  }
  const CampaignStore store(Path(), Access::kRead);
  ASSERT_TRUE(store.Key().has_value());
  EXPECT_EQ(store.Key()->seed, 0xFFFF'FFFF'FFFF'FFFFull);
  EXPECT_EQ(store.Key()->images, 100);
  EXPECT_EQ(store.Note("command"), "it's \"quoted\"");
  ASSERT_EQ(store.Networks().size(), 2u);
  const NetworkRow n = store.Networks()[0];
  EXPECT_EQ(n.name, "a");
  EXPECT_EQ(n.multiply_adds, 41'000'000'000);
  EXPECT_EQ(n.bits, 7);
  EXPECT_EQ(n.trained_with, "mibb:0.0001");
  const std::vector<PointRow> points = store.Points();
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[0].fault, "mibb:0.0001");
  EXPECT_EQ(points[1].rate, 1e-3);
  EXPECT_EQ(points[2].scope, "layer:conv1");
  const std::vector<TrialRow> trials = store.Trials(points[1].id);
  ASSERT_EQ(trials.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(trials[static_cast<size_t>(i)].trial, i);
    EXPECT_EQ(trials[static_cast<size_t>(i)].correct, i == 0 ? 60 : i == 1 ? 50 : 70);
  }
  EXPECT_EQ(trials[0].exposed, 5'000'000'000'000u);
  EXPECT_EQ(trials[0].due, 2);
  EXPECT_EQ(trials[0].version, "9.9");
}

TEST_F(StoreTest, TheResultViewHasWhatOneRowNeeds) {
  {
    CampaignStore store(Path(), Access::kCreate);
    store.SetKey({"cifar10", "abc", 100, 7});
    const int64_t network = store.AddNetwork(Network("a"));
    store.AddTrials(store.AddPoint({0, network, "mibb:*", "mibb:0.001", 1e-3, ""}), {Trial(4, 60)});
  }
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(Path().c_str(), &db), SQLITE_OK);
  sqlite3_stmt* s = nullptr;
  ASSERT_EQ(sqlite3_prepare_v2(db,
                               "SELECT network_hash, fault, rate, trial, seed, delivered_rate, "
                               "accuracy, sdc1, sdc5, masked, backend, version FROM result",
                               -1, &s, nullptr),
            SQLITE_OK);
  ASSERT_EQ(sqlite3_step(s), SQLITE_ROW);
  EXPECT_STREQ(reinterpret_cast<const char*>(sqlite3_column_text(s, 0)), "hash of a");
  EXPECT_EQ(sqlite3_column_int(s, 3), 4);
  EXPECT_EQ(sqlite3_column_int(s, 4), 7);
  EXPECT_DOUBLE_EQ(sqlite3_column_double(s, 5), 123 / 5e12);
  EXPECT_DOUBLE_EQ(sqlite3_column_double(s, 6), 0.6);
  EXPECT_DOUBLE_EQ(sqlite3_column_double(s, 8), 0.04);
  EXPECT_EQ(sqlite3_step(s), SQLITE_DONE);
  sqlite3_finalize(s);
  sqlite3_close(db);
}

TEST_F(StoreTest, RefusesWhatIsNotItsOwnAndLeavesItAlone) {
  AtomicWriteFile(Path("text"),
                  "not a database, but long enough to have a header of one hundred "
                  "bytes, which SQLite reads before it says anything about a file");
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(Path("foreign").c_str(), &db), SQLITE_OK);
  sqlite3_exec(db, "CREATE TABLE mine(x); INSERT INTO mine VALUES(1)", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  { CampaignStore store(Path("newer"), Access::kCreate); }
  ASSERT_EQ(sqlite3_open(Path("newer").c_str(), &db), SQLITE_OK);
  sqlite3_exec(db, "PRAGMA user_version = 99", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  for (const auto& [name, message] :
       {std::pair{"text", "not a campaign"}, std::pair{"foreign", "not a campaign"},
        std::pair{"newer", "format 99"}}) {
    const std::string before = ReadFile(Path(name));
    for (const Access access : {Access::kCreate, Access::kWrite, Access::kRead})
      ExpectError([&] { CampaignStore(Path(name), access); }, message);
    EXPECT_EQ(ReadFile(Path(name)), before) << name;
  }
  ExpectError([&] { CampaignStore(Path("missing"), Access::kWrite); }, "no such campaign");
  EXPECT_FALSE(PathExists(Path("missing")));
  ExpectError([&] { CampaignStore(dir_.Path(), Access::kCreate); }, "a folder");
}

TEST_F(StoreTest, FindsDamage) {
  {
    CampaignStore store(Path(), Access::kCreate);
    store.SetKey({"cifar10", "abc", 100, 7});
    const int64_t point =
        store.AddPoint({0, store.AddNetwork(Network("a")), "mibb:*", "mibb:0.001", 1e-3, ""});
    std::vector<TrialRow> trials;
    for (int i = 0; i < 2000; ++i) trials.push_back(Trial(i, i));
    store.AddTrials(point, trials);
  }
  std::string bytes = ReadFile(Path());
  for (size_t i = bytes.size() / 2; i < bytes.size() / 2 + 5000; ++i) bytes[i] = 0x5A;
  AtomicWriteFile(Path(), bytes);
  ExpectError([&] { CampaignStore(Path(), Access::kWrite); }, "damaged");
}

TEST_F(StoreTest, ACampaignKeepsItsData) {
  CampaignStore store(Path(), Access::kCreate);
  store.SetKey({"cifar10", "abc", 100, 7});
  store.SetKey({"cifar10", "abc", 100, 7});
  ExpectError([&] { store.SetKey({"cifar100", "abc", 100, 7}); }, "data set cifar10");
  ExpectError([&] { store.SetKey({"cifar10", "abc", 99, 7}); }, "images 100");
  ExpectError([&] { store.SetKey({"cifar10", "abc", 100, 8}); }, "seed 7");
  ExpectError([&] { store.SetKey({"cifar10", "abd", 100, 7}); }, "digest");
  store.AddNetwork(Network("a"));
  NetworkRow other = Network("a");
  other.golden_correct = 92;
  ExpectError([&] { store.AddNetwork(other); }, "93 correct images");
  other.hash = "another";
  ExpectError([&] { store.AddNetwork(other); }, "NAME=CHECKPOINT");
  EXPECT_EQ(store.Networks().size(), 1u);
}

TEST_F(StoreTest, SeveralMayWriteAtOnce) {
  {
    CampaignStore store(Path(), Access::kCreate);
    store.SetKey({"cifar10", "abc", 100, 7});
    store.AddPoint({0, store.AddNetwork(Network("a")), "mibb:*", "mibb:0.001", 1e-3, ""});
  }
  const auto write = [&](int first) {
    CampaignStore store(Path(), Access::kCreate);
    const int64_t point = store.Points()[0].id;
    for (int i = 0; i < 40; ++i) store.AddTrials(point, {Trial(first + i, i)});
  };
  std::thread one(write, 0), two(write, 20);
  one.join();
  two.join();
  const CampaignStore store(Path(), Access::kRead);
  EXPECT_EQ(store.Trials(store.Points()[0].id).size(), 60u);
}

}  // namespace
}  // namespace ftt
