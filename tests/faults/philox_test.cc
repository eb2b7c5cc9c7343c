#include "core/philox.h"

#include <gtest/gtest.h>

#include <vector>

#include "faults/philox_blocks.h"

namespace ftt {
namespace {

void ExpectBlock(PhiloxCounter counter, uint32_t key0, uint32_t key1,
                 const uint32_t (&expected)[4]) {
  const PhiloxCounter block = Philox(counter, key0, key1);
  for (int w = 0; w < 4; ++w) EXPECT_EQ(block.v[w], expected[w]) << "word " << w;
}

// kat_vectors of Random123, philox4x32 with 10 rounds.
TEST(Philox, KnownAnswers) {
  ExpectBlock({{0, 0, 0, 0}}, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  ExpectBlock({{~0u, ~0u, ~0u, ~0u}}, ~0u, ~0u, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  ExpectBlock({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0,
              {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST(Philox, EveryInstructionSetGivesTheSameBlocks) {
  PhiloxVariant variants[3];
  const int count = PhiloxVariants(variants);
  ASSERT_GE(count, 1);
  const PhiloxBatch batch{0xFFFFFFFF, 0x85a308d3, 0x06070809, 0xa4093822, 0xFFFFFFFE};
  for (int v = 0; v < count; ++v) {
    for (const int n : {0, 1, 3, 4, 5, 8, 9, 12, 15, 16, 17, 20, 21, 25, 100}) {
      const auto padded = static_cast<size_t>((n + kPhiloxPad - 1) / kPhiloxPad * kPhiloxPad);
      std::vector<uint32_t> word0(padded), out(4 * padded + 1, 0xABCDu);
      for (size_t i = 0; i < padded; ++i)
        word0[i] = 0xFFFFFFF0u + static_cast<uint32_t>(i) * 0x01000193u;
      variants[v].function(batch, word0.data(), n, out.data());
      for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
        const PhiloxCounter expected =
            Philox({{word0[i], batch.word1, batch.word2, batch.word3}}, batch.key0, batch.key1);
        for (size_t w = 0; w < 4; ++w) {
          ASSERT_EQ(out[4 * i + w], expected.v[w])
              << variants[v].name << " block " << i << " of " << n << " word " << w;
        }
      }
      EXPECT_EQ(out.back(), 0xABCDu) << variants[v].name << " wrote past the padding";
    }
  }
}

}  // namespace
}  // namespace ftt
