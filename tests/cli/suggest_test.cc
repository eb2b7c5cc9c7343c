#include "cli/suggest.h"

#include <gtest/gtest.h>

#include "cli/help.h"

namespace ftt {
namespace {

TEST(Suggest, NearMatchesBestFirst) {
  const std::vector<std::string> names = {"seed", "batch", "batches", "fault", "init-channels"};
  EXPECT_EQ(NearMatches("sede", names), std::vector<std::string>{"seed"});  // a swap is one edit
  EXPECT_EQ(NearMatches("sed", names), std::vector<std::string>{"seed"});
  EXPECT_EQ(NearMatches("batchs", names), (std::vector<std::string>{"batch", "batches"}));
  EXPECT_EQ(NearMatches("channels", names), std::vector<std::string>{"init-channels"});
  EXPECT_TRUE(NearMatches("xyz", names).empty());
  EXPECT_EQ(DidYouMean("falt", names), "; did you mean 'fault'?");
  EXPECT_EQ(DidYouMean("xyz", names), "");
}

TEST(Help, WrapText) {
  EXPECT_EQ(WrapText("aaa bbb ccc", 7), "aaa bbb\nccc");
  EXPECT_EQ(WrapText("aaa bbb", 7), "aaa bbb");
  EXPECT_EQ(WrapText("aaa bbb ccc ddd", 3), "aaa\nbbb\nccc\nddd");
  EXPECT_EQ(WrapText("a-long-word b", 4), "a-long-word\nb");
  EXPECT_EQ(WrapText("aa\nbb cc", 5), "aa\nbb cc");
  EXPECT_EQ(WrapText("", 5), "");
}

}  // namespace
}  // namespace ftt
