#include "core/philox.h"

#include <gtest/gtest.h>

#include <vector>

namespace ftt {
namespace {

void ExpectBlock(const PhiloxCounter& block, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  EXPECT_EQ(block.v[0], a);
  EXPECT_EQ(block.v[1], b);
  EXPECT_EQ(block.v[2], c);
  EXPECT_EQ(block.v[3], d);
}

// philox4x32-10 lines of kat_vectors in Random123 (Salmon et al.).
TEST(Philox, KnownAnswers) {
  ExpectBlock(Philox({{0, 0, 0, 0}}, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
  ExpectBlock(Philox({{~0U, ~0U, ~0U, ~0U}}, ~0U, ~0U), 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
              0x6d5451fd);
  ExpectBlock(Philox({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0),
              0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
}

TEST(Philox, SixtyFourBitSeedIsTwoKeys) {
  const PhiloxCounter a = Philox({{1, 2, 3, 4}}, uint64_t{0x1122334455667788});
  ExpectBlock(Philox({{1, 2, 3, 4}}, 0x55667788, 0x11223344), a.v[0], a.v[1], a.v[2], a.v[3]);
}

TEST(Philox, SequenceWalksTheBlocks) {
  PhiloxSequence sequence(9, Stream::kShuffle, 5, 6);
  for (uint32_t block = 0; block < 3; ++block) {
    const PhiloxCounter expected =
        Philox({{block, 5, 6, static_cast<uint32_t>(Stream::kShuffle) << 24}}, uint64_t{9});
    for (const uint32_t value : expected.v) EXPECT_EQ(sequence.Next(), value);
  }
}

TEST(Philox, BelowIsUniformAndInRange) {
  PhiloxSequence sequence(1, Stream::kInit, 0);
  std::vector<int> counts(7);
  constexpr int kDraws = 70000;
  for (int i = 0; i < kDraws; ++i) ++counts.at(sequence.Below(7));
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 7, 500);  // 5 standard deviations
  EXPECT_EQ(PhiloxSequence(1, Stream::kInit, 0).Below(1), 0U);
}

TEST(Philox, UniformStaysBelowOne) {
  PhiloxSequence sequence(2, Stream::kInit, 0);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double x =
        i % 2 == 0 ? static_cast<double>(sequence.Uniform()) : sequence.UniformDouble();
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.015);
}

}  // namespace
}  // namespace ftt
