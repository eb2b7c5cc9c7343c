#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "data/augment.h"
#include "data/split.h"
#include "temp_dir.h"

namespace ftt {
namespace {

TEST(EpochOrder, IsAPermutationNamedBySeedAndEpoch) {
  const auto order = EpochOrder(1000, 7, 3);
  EXPECT_EQ(order, EpochOrder(1000, 7, 3));
  EXPECT_NE(order, EpochOrder(1000, 7, 4));
  EXPECT_NE(order, EpochOrder(1000, 8, 3));
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (uint32_t i = 0; i < 1000; ++i) ASSERT_EQ(sorted[i], i);
  EXPECT_TRUE(EpochOrder(0, 7, 0).empty());
  EXPECT_EQ(EpochOrder(1, 7, 0), std::vector<uint32_t>{0});
}

TEST(EpochOrder, EveryValueReachesEveryPlaceEquallyOften) {
  constexpr int kSize = 5, kEpochs = 5000;
  int count[kSize][kSize] = {};
  for (uint32_t epoch = 0; epoch < kEpochs; ++epoch) {
    const auto order = EpochOrder(kSize, 1, epoch);
    for (int i = 0; i < kSize; ++i) ++count[i][order[static_cast<size_t>(i)]];
  }
  double chi2 = 0;
  for (const auto& row : count) {
    for (const int c : row) chi2 += (c - 1000.0) * (c - 1000.0) / 1000.0;
  }
  EXPECT_LT(chi2, 39.3);  // 16 degrees of freedom, 0.1 %
}

TEST(SplitTrain, PartsAreDisjointAndCompleteAndSized) {
  const std::pair<double, size_t> cases[] = {{0.0, 0}, {0.2, 20}, {0.5, 50}, {0.8, 81}, {1.0, 101}};
  for (const auto& [fraction, size] : cases) {
    const Split split = SplitTrain(101, fraction, 5);
    EXPECT_EQ(split.first.size(), size);
    std::set<uint32_t> all(split.first.begin(), split.first.end());
    all.insert(split.second.begin(), split.second.end());
    EXPECT_EQ(all.size(), 101u);
    EXPECT_EQ(split.first.size() + split.second.size(), 101u);
    EXPECT_EQ(*all.rbegin(), 100u);
  }
  EXPECT_EQ(SplitTrain(101, 0.8, 5).first, SplitTrain(101, 0.8, 5).first);
  EXPECT_NE(SplitTrain(101, 0.8, 5).first, SplitTrain(101, 0.8, 6).first);
  EXPECT_ERROR(SplitTrain(10, 1.5, 5), "1.5");
}

TEST(BalancedSubset, TakesEquallyFromClassesAndGrowsByAppending) {
  std::vector<uint8_t> labels;
  for (int i = 0; i < 300; ++i)
    labels.push_back(static_cast<uint8_t>(i < 200 ? 0 : i < 290 ? 1 : 2));
  const auto subset = BalancedSubset(labels, 20, 9);
  int count[3] = {};
  for (const uint32_t i : subset) ++count[labels[i]];
  EXPECT_EQ(count[0], 7);
  EXPECT_EQ(count[1], 7);
  EXPECT_EQ(count[2], 6);
  const auto all = BalancedSubset(labels, 300, 9);
  EXPECT_TRUE(std::equal(subset.begin(), subset.end(), all.begin()));
  EXPECT_EQ(std::set<uint32_t>(all.begin(), all.end()).size(), 300u);
  EXPECT_ERROR(BalancedSubset(labels, 301, 9), "301");
}

// Image i: every pixel tells its image and place; none is 0.
ImageSet Numbered(int count, int height, int width, int channels) {
  ImageSet set;
  set.height = height;
  set.width = width;
  set.channels = channels;
  set.labels.assign(static_cast<size_t>(count), 0);
  set.pixels.resize(static_cast<size_t>(count * set.ImageBytes()));
  for (size_t i = 0; i < set.pixels.size(); ++i)
    set.pixels[i] = static_cast<uint8_t>(1 + i * 37 % 251);
  return set;
}

std::vector<uint8_t> Batch(const ImageSet& set, const std::vector<uint32_t>& ids,
                           const AugmentOptions* options, uint64_t seed = 1, uint32_t epoch = 0) {
  std::vector<uint8_t> out(static_cast<size_t>(set.ImageBytes()) * ids.size() + 1, 0xEE);
  MakeBatch(set, ids.data(), static_cast<int>(ids.size()), options, seed, epoch, out.data());
  EXPECT_EQ(out.back(), 0xEE) << "wrote past the end";
  out.pop_back();
  return out;
}

// Walks from pixel 0 by `steps`, turning round at both ends.
int Bounce(int steps, int size) {
  int at = 0, way = steps < 0 ? -1 : 1;
  for (int i = 0; i < std::abs(steps) && size > 1; ++i) {
    if (at + way < 0 || at + way >= size) way = -way;
    at += way;
  }
  return at;
}

// What one crop and flip must give, pixel by pixel.
std::vector<uint8_t> Shifted(const ImageSet& set, int64_t image, int dx, int dy, bool mirror,
                             bool reflect = false) {
  std::vector<uint8_t> out;
  for (int y = 0; y < set.height; ++y) {
    for (int x = 0; x < set.width; ++x) {
      int sx = (mirror ? set.width - 1 - x : x) + dx, sy = y + dy;
      if (reflect) sx = Bounce(sx, set.width), sy = Bounce(sy, set.height);
      const bool inside = sx >= 0 && sx < set.width && sy >= 0 && sy < set.height;
      for (int c = 0; c < set.channels; ++c) {
        out.push_back(inside ? set.Image(image)[(sy * set.width + sx) * set.channels + c] : 0);
      }
    }
  }
  return out;
}

TEST(MakeBatch, CopiesWithoutOptions) {
  const ImageSet set = Numbered(5, 6, 5, 3);
  const auto out = Batch(set, {4, 0}, nullptr);
  EXPECT_TRUE(std::equal(out.begin(), out.begin() + 90, set.Image(4)));
  EXPECT_TRUE(std::equal(out.begin() + 90, out.end(), set.Image(0)));
}

TEST(MakeBatch, CropAndFlipReachEveryPlaceAndNothingElse) {
  for (const bool reflect : {false, true}) {
    const ImageSet set = Numbered(1, 6, 7, reflect ? 1 : 3);
    AugmentOptions options;
    options.crop_padding = 2;
    options.crop_border = reflect ? "reflect" : "black";
    std::vector<int> seen(50, 0);
    for (uint32_t epoch = 0; epoch < 2000; ++epoch) {
      const auto out = Batch(set, {0}, &options, 3, epoch);
      int matches = 0;
      for (int k = 0; k < 50; ++k) {
        if (out == Shifted(set, 0, k % 5 - 2, k / 5 % 5 - 2, k >= 25, reflect)) {
          ++seen[static_cast<size_t>(k)];
          ++matches;
        }
      }
      ASSERT_EQ(matches, 1) << "epoch " << epoch;
    }
    double chi2 = 0;
    for (const int s : seen) chi2 += (s - 40.0) * (s - 40.0) / 40.0;
    EXPECT_LT(chi2, 85.4);  // 49 degrees of freedom, 0.1 %
  }
}

TEST(MakeBatch, PaddingLargerThanTheImage) {
  const ImageSet set = Numbered(1, 3, 4, 1);
  AugmentOptions options;
  options.crop_padding = 9;
  for (uint32_t epoch = 0; epoch < 400; ++epoch) {
    const bool reflect = epoch % 2 == 1;
    options.crop_border = reflect ? "reflect" : "black";
    const auto out = Batch(set, {0}, &options, 3, epoch);
    bool found = false;
    for (int dy = -9; dy <= 9 && !found; ++dy) {
      for (int dx = -9; dx <= 9 && !found; ++dx) {
        found = out == Shifted(set, 0, dx, dy, false, reflect) ||
                out == Shifted(set, 0, dx, dy, true, reflect);
      }
    }
    ASSERT_TRUE(found) << options.crop_border;
  }
}

TEST(MakeBatch, DependsOnSeedEpochAndIndexButNotOnPlace) {
  const ImageSet set = Numbered(40, 8, 8, 3);
  const AugmentOptions options;
  std::vector<uint32_t> ids(40);
  std::iota(ids.begin(), ids.end(), 0u);
  const auto all = Batch(set, ids, &options, 1, 5);
  EXPECT_EQ(all, Batch(set, ids, &options, 1, 5));
  EXPECT_NE(all, Batch(set, ids, &options, 2, 5));
  EXPECT_NE(all, Batch(set, ids, &options, 1, 6));
  for (const uint32_t id : {0u, 39u}) {
    const auto one = Batch(set, {id}, &options, 1, 5);
    EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + id * set.ImageBytes()));
  }
}

TEST(MakeBatch, CutoutPaintsAClippedSquareAndLeavesTheRest) {
  const ImageSet set = Numbered(1, 7, 9, 3);
  AugmentOptions plain, cut;
  cut.cutout = 4;
  cut.cutout_fill = {253, 254, 255};  // values the images do not have
  bool corner_first = false, corner_last = false, whole = false;
  for (uint32_t epoch = 0; epoch < 600; ++epoch) {
    const auto before = Batch(set, {0}, &plain, 2, epoch), after = Batch(set, {0}, &cut, 2, epoch);
    int x0 = 99, x1 = -1, y0 = 99, y1 = -1, painted = 0;
    for (int i = 0; i < 63; ++i) {
      const bool hit = after[static_cast<size_t>(3 * i)] == 253;
      for (int c = 0; c < 3; ++c) {
        const size_t at = static_cast<size_t>(3 * i + c);
        ASSERT_EQ(after[at], hit ? 253 + c : before[at]);
      }
      if (!hit) continue;
      ++painted;
      x0 = std::min(x0, i % 9), x1 = std::max(x1, i % 9), y0 = std::min(y0, i / 9),
      y1 = std::max(y1, i / 9);
    }
    ASSERT_EQ(painted, (x1 - x0 + 1) * (y1 - y0 + 1));
    ASSERT_LE(x1 - x0, 3);
    ASSERT_LE(y1 - y0, 3);
    corner_first |= x0 == 0 && y0 == 0;
    corner_last |= x1 == 8 && y1 == 6;
    whole |= painted == 16;
  }
  EXPECT_TRUE(corner_first && corner_last && whole);
}

TEST(MakeBatch, RejectsOptionsOutsideTheirRange) {
  const ImageSet set = Numbered(1, 4, 4, 3);
  AugmentOptions options;
  options.crop_padding = -1;
  EXPECT_ERROR(Batch(set, {0}, &options), "crop padding: -1");
  options = {};
  options.cutout = 256;
  EXPECT_ERROR(Batch(set, {0}, &options), "cutout: 256");
  options = {};
  options.crop_border = "white";
  EXPECT_ERROR(Batch(set, {0}, &options), "crop border 'white'");
  options = {};
  options.cutout_fill = {1};
  EXPECT_ERROR(Batch(set, {0}, &options), "1 fill values for 3 channels");
}

TEST(MeanPixel, RoundsToNearest) {
  Dataset data;
  data.mean = {0.0f, 0.5f, 1.0f};
  EXPECT_EQ(MeanPixel(data), (std::vector<uint8_t>{0, 128, 255}));
}

}  // namespace
}  // namespace ftt
