#include "core/tensorboard.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ftt {
namespace {

using namespace std::string_literals;

TEST(TensorBoard, Crc32c) {
  // RFC 3720, appendix B.4, and the check value of the algorithm.
  std::string ascending, descending;
  for (int i = 0; i < 32; ++i) {
    ascending += static_cast<char>(i);
    descending += static_cast<char>(31 - i);
  }
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  EXPECT_EQ(Crc32c(ascending), 0x46DD794Eu);
  EXPECT_EQ(Crc32c(descending), 0x113FDB5Cu);
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(""), 0u);
}

TEST(TensorBoard, FrameOfARecord) {
  // Written by the RecordWriter of tensorboard 2.21 for the data "ftt".
  EXPECT_EQ(FrameRecord("ftt"),
            "\x03\0\0\0\0\0\0\0"
            "\xB0\x99\x49\x0E"
            "ftt"
            "\x22\x8B\x56\x54"s);
}

TEST(TensorBoard, HeaderNamesTheVersion) {
  EXPECT_EQ(EventFileHeader(1.5), FrameRecord("\x09\0\0\0\0\0\0\xF8\x3F"
                                              "\x1A\x0D"
                                              "brain.Event:2"s));
}

TEST(TensorBoard, ScalarsOfAStep) {
  // By hand from event.proto: 09 wall_time, 10 step 300 as a varint, 2A summary; in it 0A a value
  // (0A tag, 15 float) each, all with their lengths.
  const std::vector<Scalar> scalars = {{"a/b", 1.0}, {"c", -2.5}};
  EXPECT_EQ(ScalarEvent(2.0, 300, scalars), FrameRecord("\x09\0\0\0\0\0\0\0\x40"
                                                        "\x10\xAC\x02"
                                                        "\x2A\x16"
                                                        "\x0A\x0A\x0A\x03"
                                                        "a/b"
                                                        "\x15\0\0\x80\x3F"
                                                        "\x0A\x08\x0A\x01"
                                                        "c"
                                                        "\x15\0\0\x20\xC0"s));
}

}  // namespace
}  // namespace ftt
