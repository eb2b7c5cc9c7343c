#include "core/progress.h"

#include <gtest/gtest.h>

#include <thread>

namespace ftt {
namespace {

// Everything printed by `print` to a Progress of these settings.
template <typename Print>
std::string Captured(bool live, int width, const Print& print) {
  char* buffer = nullptr;
  size_t size = 0;
  std::FILE* stream = open_memstream(&buffer, &size);
  {
    Progress progress(stream, live, width);
    print(progress);
  }
  std::fclose(stream);
  std::string text(buffer, size);
  std::free(buffer);
  return text;
}

TEST(Progress, PipeShowsPlainLinesOnly) {
  const std::string text = Captured(false, 0, [](Progress& progress) {
    EXPECT_FALSE(progress.WantsUpdate());
    progress.Update("live");
    progress.Line("epoch 1");
    progress.Update("live");
    progress.Line("epoch 2");
  });
  EXPECT_EQ(text, "epoch 1\nepoch 2\n");
}

TEST(Progress, TerminalLineIsReplacedAndLimited) {
  const std::string text = Captured(true, 40, [](Progress& progress) {
    for (int i = 0; i < 1000; ++i) progress.Update("step " + std::to_string(i));
    progress.Line("done");
  });
  EXPECT_EQ(text, "step 0\r\x1b[Kdone\n");
}

TEST(Progress, UpdatesAgainAfterAWhile) {
  const std::string text = Captured(true, 40, [](Progress& progress) {
    progress.Update("one");
    std::this_thread::sleep_for(std::chrono::milliseconds(110));
    progress.Update("two");
  });
  EXPECT_EQ(text, "one\r\x1b[Ktwo\n");
}

TEST(Progress, LiveLineIsCutToWidth) {
  EXPECT_EQ(Captured(true, 6, [](Progress& p) { p.Update("abcdefgh"); }), "abcde\n");
  EXPECT_EQ(Captured(true, 6, [](Progress& p) { p.Update("ab\u2026defgh"); }), "ab\u2026de\n");
  EXPECT_EQ(Captured(true, 6, [](Progress& p) { p.Line("abcdefgh"); }), "abcdefgh\n");
}

TEST(Progress, Durations) {
  EXPECT_EQ(FormatDuration(0), "0s");
  EXPECT_EQ(FormatDuration(59.4), "59s");
  EXPECT_EQ(FormatDuration(59.6), "1m00s");
  EXPECT_EQ(FormatDuration(3599), "59m59s");
  EXPECT_EQ(FormatDuration(7380), "2h03m");
  EXPECT_EQ(FormatDuration(49 * 3600), "2d01h");
  EXPECT_EQ(FormatDuration(-1), "?");
  EXPECT_DOUBLE_EQ(EstimateRemaining(10, 2, 10), 40);
  EXPECT_LT(EstimateRemaining(10, 0, 10), 0);
  EXPECT_EQ(EstimateRemaining(10, 11, 10), 0);
}

}  // namespace
}  // namespace ftt
