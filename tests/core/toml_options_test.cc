#include "core/toml_options.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace ftt {
namespace {

std::string ErrorOf(const std::string& text) {
  try {
    (void)ParseTomlOptions(text, "c.toml");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(TomlOptions, FlattensInFileOrder) {
  const auto options = ParseTomlOptions(
      "seed = 7  # comment\n"
      "data = \"cifar10:data/c10\"\n"
      "\n"
      "[search]\n"
      "init_channels = -20\n"
      "fault-rate = 1e-4\n"
      "resume = false\n"
      "rates = [0, 1, 2]\n"
      "names = [\"a b\", \"c\"]\n"
      "none = []\n",
      "c.toml");
  ASSERT_EQ(options.size(), 8U);
  EXPECT_EQ(options[0].table, "");
  EXPECT_EQ(options[0].key, "seed");
  EXPECT_EQ(options[0].values, std::vector<std::string>{"7"});
  EXPECT_EQ(options[0].line, 1);
  EXPECT_EQ(options[1].values[0], "cifar10:data/c10");
  EXPECT_EQ(options[2].table, "search");
  EXPECT_EQ(options[2].key, "init-channels");
  EXPECT_EQ(options[2].values[0], "-20");
  EXPECT_EQ(options[2].line, 5);
  EXPECT_EQ(options[3].key, "fault-rate");
  EXPECT_EQ(options[3].values[0], "0.0001");
  EXPECT_EQ(options[4].values[0], "false");
  EXPECT_EQ(options[5].values, (std::vector<std::string>{"0", "1", "2"}));
  EXPECT_EQ(options[6].values, (std::vector<std::string>{"a b", "c"}));
  EXPECT_TRUE(options[7].values.empty());
  EXPECT_EQ(options[7].line, 10);
}

TEST(TomlOptions, ErrorsNameFileAndLine) {
  EXPECT_TRUE(ErrorOf("a = 1\nb = = 2\n").starts_with("c.toml:2: ")) << ErrorOf("a = 1\nb = = 2\n");
  EXPECT_TRUE(ErrorOf("a = 1\na = 2\n").starts_with("c.toml:2: "));
  EXPECT_TRUE(ErrorOf("a_b = 1\na-b = 2\n").starts_with("c.toml:2: key 'a-b' was given before"));
  EXPECT_TRUE(ErrorOf("[a.b]\nc = 1\n").starts_with("c.toml:1: "));
  EXPECT_TRUE(ErrorOf("\na = 1979-05-27\n").starts_with("c.toml:2: "));
  EXPECT_TRUE(ErrorOf("a = [1, \"x\"]\n").starts_with("c.toml:1: "));
  EXPECT_TRUE(ErrorOf("a = [[1]]\n").starts_with("c.toml:1: "));
  EXPECT_THROW((void)ReadTomlOptions("/absent/c.toml"), Error);
  // The same key in two tables is not a repetition.
  EXPECT_EQ(ErrorOf("seed = 1\n[train]\nseed = 2\n[search]\nseed = 3\n"), "no error");
}

TEST(TomlOptions, ValuesReadBack) {
  for (const char* text : {"",
                           "7",
                           "-3",
                           "0",
                           "007",
                           "1e-4",
                           "0.5",
                           ".5",
                           "5.",
                           "1.e5",
                           "1.5e+10",
                           "true",
                           "nan",
                           "inf",
                           "-",
                           "+1",
                           "0x10",
                           "1_000",
                           "12345678901234567890",
                           "9223372036854775807",
                           "mibb:1e-4,lifetime=permanent+adsaf:0.08",
                           "a\"b\\c\n\x7f",
                           "normal_0=[('sep', 0, 2)]"}) {
    const std::string value = TomlValue(text);
    const auto options = ParseTomlOptions("key = " + value + "\n", "c.toml");
    ASSERT_EQ(options.size(), 1U) << text;
    // Numbers may come back in another notation of the same value.
    if (options[0].values[0] != text) {
      EXPECT_EQ(std::stod(options[0].values[0]), std::stod(text)) << text;
    }
  }
  EXPECT_EQ(TomlValue("12"), "12");
  EXPECT_EQ(TomlValue("1e-4"), "1e-4");
  EXPECT_EQ(TomlValue("false"), "false");
  EXPECT_EQ(TomlValue("007"), "\"007\"");
  EXPECT_EQ(TomlValue("resnet-20"), "\"resnet-20\"");
}

}  // namespace
}  // namespace ftt
