#include "engine/event_board.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "engine/run_dir.h"
#include "tests/data/temp_dir.h"

namespace ftt {
namespace {

// The data of each record of an event file; fails on a bad frame.
std::vector<std::string> Records(const std::string& path) {
  const std::string bytes = ReadFile(path);
  std::vector<std::string> records;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t length = 0;
    std::memcpy(&length, bytes.data() + at, std::min<size_t>(8, bytes.size() - at));
    if (at + 16 + length > bytes.size()) {
      ADD_FAILURE() << "half a record";
      break;
    }
    records.push_back(bytes.substr(at + 12, length));
    EXPECT_EQ(FrameRecord(records.back()), bytes.substr(at, 16 + length));
    at += 16 + length;
  }
  return records;
}

// Events without their first field, the time.
std::vector<std::string> Timeless(const std::string& path) {
  std::vector<std::string> events;
  for (const std::string& record : Records(path)) events.push_back(record.substr(9));
  return events;
}

std::string Line(int step, double loss) {
  return R"({"event":"epoch","step":)" + std::to_string(step) + R"(,"loss":)" +
         std::to_string(loss) + "}";
}

TEST(EventBoard, TagsOfAnEvent) {
  const BoardEvent event = ReadBoardEvent(
      R"({"event":"epoch","step":40,"loss":0.5,"fault_loss":0.75,"accuracy":0.25,)"
      R"("fault_accuracy":null,"lr":0.1,"reward":{"clean":0.9,"fault":0.8},"seconds":2,"extra":7})");
  EXPECT_EQ(event.step, 40);
  EXPECT_EQ(event.seconds, 2);
  std::vector<std::string> tags;
  for (const Scalar& s : event.scalars) tags.push_back(s.tag);
  EXPECT_EQ(tags, (std::vector<std::string>{"loss/clean", "loss/faulty", "accuracy/clean",
                                            "run/learning_rate", "reward/clean", "reward/faulty",
                                            "run/epoch_seconds", "run/extra"}));
  EXPECT_EQ(event.scalars[1].value, 0.75);
  EXPECT_EQ(event.scalars[5].value, 0.8);
  EXPECT_TRUE(ReadBoardEvent("{torn").scalars.empty());
  EXPECT_TRUE(ReadBoardEvent("[1]").scalars.empty());
}

TEST(EventBoard, AppendedEventsAndRewrittenOnesAreTheSame) {
  const TempDir dir;
  const std::string a = dir / "a", b = dir / "b";
  EventBoard appended(a, "");
  appended.Add(Line(1, 0.5));
  appended.Add(Line(2, 0.25));
  EventBoard rewritten(b, Line(1, 0.5) + "\n" + Line(2, 0.25) + "\n");
  EXPECT_EQ(Timeless(a).size(), 3u);
  EXPECT_EQ(Timeless(a), Timeless(b));
  EXPECT_THROW(EventBoard(dir / "missing/c", ""), Error);
}

// A run that was killed behind its last checkpoint, in the middle of a record.
TEST(EventBoard, ResumeLeavesNoDuplicatesAndNoHalfRecord) {
  const TempDir dir;
  const std::string run = dir / "run", board = run + "/" + kBoardFile;
  {
    RunDir first = RunDir::Create(run, "seed = 1\n");
    first.RewindEvents(0);
    for (int step = 1; step <= 3; ++step) first.WriteEvent(Line(step, 1.0 / step));
  }
  const std::vector<std::string> whole = Timeless(board);
  ASSERT_EQ(whole.size(), 4u);
  std::filesystem::resize_file(board, std::filesystem::file_size(board) - 5);
  RunDir second = RunDir::Resume(run, "seed = 1\n");
  second.RewindEvents(2);
  EXPECT_EQ(Timeless(board).size(), 3u);
  second.WriteEvent(Line(3, 1.0 / 3));
  EXPECT_EQ(Timeless(board), whole);
}

}  // namespace
}  // namespace ftt
