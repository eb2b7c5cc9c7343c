// Images, dropout and faults of the logits on the device.
#include "kernels/cuda/input.h"

#include <cmath>
#include <limits>

#include "core/philox.h"
#include "data/augment.h"
#include "engine/input_coding.h"
#include "kernels/quantize_math.h"
#include "tests/cuda/layout.h"
#include "tests/kernels/parity_util.h"

namespace ftt::cuda::test {
namespace {

using ftt::test::Operands;

TEST(CudaInputTest, Encode) {
  for (const int channels : {1, 3, 4}) {
    const MapShape s{3, 2, 5, 7, channels};
    const InputCoding coding(std::vector<float>(static_cast<size_t>(channels), 0.4f),
                             std::vector<float>(static_cast<size_t>(channels), 0.3f), 8);
    Operands operands(5);
    std::vector<uint8_t> pixels(static_cast<size_t>(s.Pixels() * channels));
    for (uint8_t& p : pixels) p = static_cast<uint8_t>(operands.Below(256));
    std::vector<int8_t> want(pixels.size());
    coding.Encode(pixels.data(), static_cast<int64_t>(pixels.size()), want.data());
    std::vector<int8_t> table(static_cast<size_t>(channels) * 256);
    for (int c = 0; c < channels; ++c) {
      for (int p = 0; p < 256; ++p) {
        std::vector<uint8_t> pixel(static_cast<size_t>(channels), static_cast<uint8_t>(p));
        std::vector<int8_t> code(pixel.size());
        coding.Encode(pixel.data(), channels, code.data());
        table[static_cast<size_t>(c * 256 + p)] = code[static_cast<size_t>(c)];
      }
    }
    const DeviceBuffer<uint8_t> d_pixels(pixels);
    const DeviceBuffer<int8_t> d_table(table);
    const DeviceBuffer<int8_t> codes(static_cast<size_t>(s.lanes * s.LaneElements()));
    EncodeArguments a;
    a.shape = s;
    a.pixels = d_pixels.Data();
    a.table = d_table.Data();
    a.codes = codes.Data();
    Encode(a, {});
    const std::vector<int8_t> got = Dense(codes.Get(), channels);
    for (int lane = 0; lane < s.lanes; ++lane) {
      EXPECT_EQ(want,
                std::vector<int8_t>(got.begin() + lane * static_cast<int64_t>(want.size()),
                                    got.begin() + (lane + 1) * static_cast<int64_t>(want.size())));
    }
  }
}

TEST(CudaInputTest, EncodeAugmentsAsTheHost) {
  ImageSet set;
  set.height = 6;
  set.width = 9;
  set.channels = 3;
  Operands operands(6);
  for (int i = 0; i < 7; ++i) {
    set.labels.push_back(0);
    for (int64_t k = 0; k < set.ImageBytes(); ++k)
      set.pixels.push_back(static_cast<uint8_t>(operands.Below(256)));
  }
  const std::vector<uint32_t> ids = {6, 0, 3, 3, 5};
  const MapShape s{2, static_cast<int>(ids.size()), set.height, set.width, 3};
  std::vector<int8_t> table(3 * 256);
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int8_t>(i % 256 - 128 + i / 256);
  for (const char* border : {"reflect", "black"}) {
    for (const int cutout : {0, 1, 4}) {
      AugmentOptions o;
      o.crop_padding = 8;  // wider than the image is high
      o.crop_border = border;
      o.cutout = cutout;
      o.cutout_fill = {10, 200, 90};
      std::vector<uint8_t> pixels(static_cast<size_t>(s.Pixels()) * 3);
      MakeBatch(set, ids.data(), s.images, &o, 99, 4, pixels.data());
      std::vector<int8_t> want;
      for (size_t i = 0; i < pixels.size(); ++i) want.push_back(table[i % 3 * 256 + pixels[i]]);
      std::vector<ImageMoves> moves;
      for (const uint32_t id : ids) moves.push_back(DrawMoves(set, o, 99, 4, id));
      const DeviceBuffer<uint8_t> d_pixels(set.pixels);
      const DeviceBuffer<uint32_t> d_ids(ids);
      const DeviceBuffer<ImageMoves> d_moves(moves);
      const DeviceBuffer<int8_t> d_table(table), codes(static_cast<size_t>(2 * s.LaneElements()));
      EncodeArguments a;
      a.shape = s;
      a.pixels = d_pixels.Data();
      a.indices = d_ids.Data();
      a.moves = d_moves.Data();
      a.reflect = o.crop_border == "reflect";
      a.cutout = cutout;
      std::copy(o.cutout_fill.begin(), o.cutout_fill.end(), a.fill);
      a.table = d_table.Data();
      a.codes = codes.Data();
      Encode(a, {});
      const std::vector<int8_t> got = Dense(codes.Get(), 3);
      const auto n = static_cast<int64_t>(want.size());
      EXPECT_EQ(want, std::vector<int8_t>(got.begin(), got.begin() + n));
      EXPECT_EQ(want, std::vector<int8_t>(got.begin() + n, got.end()));
    }
  }
}

TEST(CudaInputTest, Dropout) {
  const std::vector<uint32_t> ids = {9, 4, 70000};
  constexpr int kFeatures = 37;
  constexpr uint64_t kSeed = 0x1234567890ull;
  const DeviceBuffer<uint32_t> d_ids(ids);
  const DeviceBuffer<uint8_t> keep(ids.size() * kFeatures);
  const DeviceBuffer<uint32_t> step(std::vector<uint32_t>{11});
  Dropout({3, kFeatures, 0.3f, kSeed, step.Data(), d_ids.Data(), keep.Data()}, {});
  std::vector<uint8_t> want;
  for (const uint32_t id : ids) {
    PhiloxSequence draws(kSeed, Stream::kDropout, 11, id);
    for (int k = 0; k < kFeatures; ++k)
      want.push_back(static_cast<uint8_t>(draws.Uniform() >= 0.3f));
  }
  EXPECT_EQ(want, keep.Get());
}

TEST(CudaInputTest, LaneUnits) {
  const DeviceBuffer<int> x(std::vector<int>{-3, 2, 0}), w(std::vector<int>{-7});
  const DeviceBuffer<float> unit(3);
  LaneUnits({3, 1.5f, x.Data(), w.Data(), unit.Data()}, {});
  EXPECT_EQ(unit.Get(), (std::vector<float>{1.5f * PowerOfTwo(-10), 1.5f * PowerOfTwo(-5),
                                            1.5f * PowerOfTwo(-7)}));
}

TEST(CudaInputTest, FaultsOfLogits) {
  const std::vector<uint32_t> ids = {3, 1, 8, 20, 21};
  for (const int classes : {2, 10, 100}) {
    LanePlans plans({"", "mibb:0.02,sites=conv,linear", "mibb:0.05,sites=conv,linear"},
                    {1, 1, classes}, 8, false, ids, SiteKind::kLogits);
    Operands operands(7);
    const auto images = static_cast<int64_t>(ids.size());
    std::vector<float> logits = operands.Floats(3 * images * classes);
    for (float& z : logits) z *= 17;
    logits[static_cast<size_t>(images * classes + 1)] = std::numeric_limits<float>::infinity();
    logits[static_cast<size_t>(2 * images * classes)] = 64.0f;  // a power of two
    std::vector<float> want = logits;
    for (int lane = 0; lane < 3; ++lane) {
      const LaneFaults& f = plans.Host()[lane];
      for (int64_t i = 0; i < images; ++i) {
        ftt::InjectLogits(*f.faults, f.moment, ids[static_cast<size_t>(i)],
                          want.data() + (lane * images + i) * classes, classes, f.counts, nullptr);
      }
    }
    const DeviceBuffer<float> d_logits(logits);
    InjectLogits({3, static_cast<int>(images), classes, 8, plans.View(), d_logits.Data()}, {});
    EXPECT_EQ(want, d_logits.Get());
    EXPECT_GT(plans.CheckCounts(), 0u);
  }
}

}  // namespace
}  // namespace ftt::cuda::test
