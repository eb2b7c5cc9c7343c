#include "core/events.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "core/error.h"
#include "core/file.h"

namespace ftt {
namespace {

class EventLogTest : public testing::Test {
 protected:
  void SetUp() override {
    // One file per test: they run side by side.
    path_ = testing::TempDir() + "ftt_events_test_" + std::to_string(::getpid()) + ".jsonl";
    std::filesystem::remove(path_);
  }
  void TearDown() override { std::filesystem::remove(path_); }
  std::string path_;
};

TEST_F(EventLogTest, LinesAreVisibleAtOnceAndAppended) {
  {
    EventLog log(path_);
    EXPECT_EQ(log.Offset(), 0);
    log.Write("{\"a\":1}");
    EXPECT_EQ(ReadFile(path_), "{\"a\":1}\n");
    EXPECT_EQ(log.Offset(), 8);
  }
  EventLog log(path_);
  EXPECT_EQ(log.Offset(), 8);
  log.Write("{}");
  log.Sync();
  EXPECT_EQ(ReadFile(path_), "{\"a\":1}\n{}\n");
  EXPECT_THROW(log.Write("{\n}"), Error);
  EXPECT_EQ(log.Offset(), 11);
}

TEST_F(EventLogTest, TruncateCutsBackToACheckpoint) {
  EventLog log(path_);
  log.Write("{\"step\":1}");
  const int64_t recorded = log.Offset();
  log.Write("{\"step\":2}");
  log.TruncateTo(recorded);
  log.Write("{\"step\":3}");
  EXPECT_EQ(ReadFile(path_), "{\"step\":1}\n{\"step\":3}\n");
  EXPECT_THROW(log.TruncateTo(log.Offset() + 1), Error);
  EXPECT_THROW(log.TruncateTo(-1), Error);
  log.TruncateTo(0);
  EXPECT_EQ(ReadFile(path_), "");
}

TEST_F(EventLogTest, HalfALineIsCutOffOnOpening) {
  AtomicWriteFile(path_, "{\"a\":1}\n{\"b\":");
  {
    EventLog log(path_);
    EXPECT_EQ(log.Offset(), 8);
    log.Write("{}");
  }
  EXPECT_EQ(ReadFile(path_), "{\"a\":1}\n{}\n");
  AtomicWriteFile(path_, "{}\n" + std::string(10000, 'x'));  // longer than one block
  EXPECT_EQ(EventLog(path_).Offset(), 3);
  AtomicWriteFile(path_, "no line end");
  EXPECT_EQ(EventLog(path_).Offset(), 0);
}

TEST_F(EventLogTest, CannotOpen) { EXPECT_THROW(EventLog("/absent/events.jsonl"), Error); }

}  // namespace
}  // namespace ftt
