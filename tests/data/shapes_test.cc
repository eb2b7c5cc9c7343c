#include "data/shapes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <string_view>
#include <vector>

#include "core/digest.h"
#include "data/contact_sheet.h"
#include "data/split.h"
#include "temp_dir.h"

namespace ftt {
namespace {

std::string Hash(const ImageSet& set) {
  return Md5Hex({reinterpret_cast<const char*>(set.pixels.data()), set.pixels.size()});
}

// If this changes, results on `shapes` from before and after cannot be compared.
TEST(Shapes, BytesArePinned) {
  EXPECT_EQ(Hash(MakeShapes(kShapesSeed, 0, 100)), "cdd3ef2dee1730027011a777ec4effe1");
  EXPECT_EQ(Hash(MakeShapes(kShapesSeed, kFirstTestShape, 100)),
            "fe15860092c7723e4219f7e78869a973");
}

TEST(Shapes, AnImageIsAFunctionOfSeedAndIndex) {
  const ImageSet set = MakeShapes(1, 0, 50);
  std::vector<uint8_t> one(3072);
  EXPECT_EQ(PaintShape(1, 49, one.data()), 9);
  EXPECT_TRUE(std::equal(one.begin(), one.end(), set.Image(49)));
  EXPECT_NE(Hash(set), Hash(MakeShapes(2, 0, 50)));
  EXPECT_NE(Hash(set), Hash(MakeShapes(1, 10, 50)));
  // Two images of one class are never the same.
  EXPECT_FALSE(std::equal(set.Image(0), set.Image(1), set.Image(10)));
}

TEST(Shapes, LoadsTheSizesAskedForInEqualClasses) {
  const Dataset data = LoadDataset("shapes:200,50");
  EXPECT_EQ(data.classes, 10);
  EXPECT_EQ(data.class_names.size(), 10u);
  EXPECT_EQ(data.train.Size(), 200);
  EXPECT_EQ(data.test.Size(), 50);
  for (int k = 0; k < 10; ++k) {
    EXPECT_EQ(std::count(data.train.labels.begin(), data.train.labels.end(), k), 20);
    EXPECT_EQ(std::count(data.test.labels.begin(), data.test.labels.end(), k), 5);
  }
  for (size_t c = 0; c < 3; ++c) {
    EXPECT_GT(data.mean[c], 0.2f);
    EXPECT_LT(data.mean[c], 0.8f);
    EXPECT_GT(data.stddev[c], 0.1f);
  }
  for (const char* spec : {"shapes:", "shapes:10", "shapes:10,", "shapes:,10", "shapes:0,10",
                           "shapes:10,10x", "shapes:-1,10", "shapes:10,2000000"}) {
    EXPECT_ERROR(LoadDataset(spec), spec);
  }
}

// Softmax regression on normalised pixels, by gradient descent in mini-batches; test accuracy.
double LinearAccuracy(const Dataset& data, int epochs) {
  constexpr int kInputs = 3072, kClasses = 10;
  std::vector<float> weights(kInputs * kClasses, 0.0f), bias(kClasses, 0.0f), x(kInputs);
  const auto scores = [&](const uint8_t* image, float* out) {
    for (int i = 0; i < kInputs; ++i) {
      const size_t c = static_cast<size_t>(i % 3);
      x[static_cast<size_t>(i)] =
          (static_cast<float>(image[i]) / 255.0f - data.mean[c]) / data.stddev[c];
    }
    for (int k = 0; k < kClasses; ++k) out[k] = bias[static_cast<size_t>(k)];
    for (int i = 0; i < kInputs; ++i) {
      const float* row = &weights[static_cast<size_t>(i * kClasses)];
      for (int k = 0; k < kClasses; ++k) out[k] += x[static_cast<size_t>(i)] * row[k];
    }
  };
  float out[kClasses];
  for (int epoch = 0; epoch < epochs; ++epoch) {
    const float rate = 2e-4f * static_cast<float>(epochs - epoch) / static_cast<float>(epochs);
    for (const uint32_t index : EpochOrder(data.train.Size(), 1, static_cast<uint32_t>(epoch))) {
      scores(data.train.Image(index), out);
      const float top = *std::max_element(out, out + kClasses);
      float sum = 0;
      for (float& o : out) sum += o = std::exp(o - top);
      for (int k = 0; k < kClasses; ++k) {
        out[k] = rate * ((k == data.train.labels[index] ? 1.0f : 0.0f) - out[k] / sum);
        bias[static_cast<size_t>(k)] += out[k];
      }
      for (int i = 0; i < kInputs; ++i) {
        float* row = &weights[static_cast<size_t>(i * kClasses)];
        for (int k = 0; k < kClasses; ++k) row[k] += x[static_cast<size_t>(i)] * out[k];
      }
    }
  }
  int64_t correct = 0;
  for (int64_t i = 0; i < data.test.Size(); ++i) {
    scores(data.test.Image(i), out);
    correct +=
        std::max_element(out, out + kClasses) - out == data.test.labels[static_cast<size_t>(i)];
  }
  return static_cast<double>(correct) / static_cast<double>(data.test.Size());
}

TEST(Shapes, ALinearClassifierDoesNotSolveThem) {
  const double accuracy = LinearAccuracy(LoadDataset("shapes"), 4);
  RecordProperty("accuracy", std::to_string(accuracy));
  EXPECT_LT(accuracy, 0.60);
  EXPECT_GT(accuracy, 0.15);
}

TEST(Shapes, AreGeneratedQuickly) {
  const std::clock_t start = std::clock();
  const ImageSet set = MakeShapes(3, 0, 1200);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_EQ(set.Size(), 1200);
#ifdef NDEBUG
  EXPECT_LT(seconds, 0.6);  // a tenth of the default data set; 0.05 s when the machine is idle
#else
  RecordProperty("seconds", std::to_string(seconds));
#endif
}

TEST(ContactSheet, PlacesEveryImage) {
  const ImageSet set = MakeShapes(1, 0, 30);
  const auto indices = FirstOfEachClass(set, 10, 3);
  ASSERT_EQ(indices.size(), 30u);
  EXPECT_EQ(indices[29], 29u);
  const std::string sheet = ContactSheet(set, indices, 10, 2);
  const std::string header = "P6\n651 196\n255\n";
  ASSERT_EQ(sheet.substr(0, header.size()), header);
  ASSERT_EQ(sheet.size(), header.size() + 3u * 651 * 196);
  const auto pixel = [&](int x, int y) {
    return sheet.substr(header.size() + 3 * static_cast<size_t>(y * 651 + x), 3);
  };
  const auto of = [&](int64_t image, int at) {
    return std::string(reinterpret_cast<const char*>(set.Image(image)) + 3 * at, 3);
  };
  EXPECT_EQ(pixel(0, 0), std::string(3, '\0'));
  EXPECT_EQ(pixel(1, 1), of(0, 0));
  EXPECT_EQ(pixel(2, 2), of(0, 0));
  EXPECT_EQ(pixel(649, 194), of(29, 1023));
  EXPECT_EQ(pixel(650, 195), std::string(3, '\0'));
  EXPECT_ERROR(ContactSheet(set, {30}, 1, 1), "image 30 of 30");
}

}  // namespace
}  // namespace ftt
