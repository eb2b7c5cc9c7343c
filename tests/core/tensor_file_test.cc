#include "core/tensor_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>

#include "core/error.h"
#include "core/file.h"

namespace ftt {
namespace {

TensorFile Sample() {
  TensorFile file;
  file.Add("b.weight", {2, 3}, std::vector<float>{1.5F, -2, 3, 4, 5, -0.0F});
  file.Add("a.codes", {3}, std::vector<int8_t>{-128, 0, 127});
  file.Add("step", {}, std::vector<int64_t>{1234567890123});
  file.Add("empty", {0, 4}, std::vector<uint8_t>{});
  file.Add("mean", {2}, std::vector<double>{0.1, 1e300});
  file.Add("seed", {1}, std::vector<uint64_t>{~uint64_t{0}});
  file.Add("index", {2}, std::vector<int32_t>{-1, 1 << 30});
  file.SetMetadata("genotype", "normal_0=[('sep_conv_3x3', 0, 2)]\n\"quoted\"");
  return file;
}

// A file from raw header text and data, without a checksum.
std::string Raw(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

std::string ParseError(const std::string& bytes,
                       TensorFile::Checksum checksum = TensorFile::Checksum::kIfPresent) {
  try {
    (void)TensorFile::Parse(bytes, "x/model.safetensors", checksum);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("x/model.safetensors"), std::string::npos);
    return error.what();
  }
  return "no error";
}

TEST(TensorFile, RoundTrip) {
  const std::string bytes = Sample().Serialize();
  const TensorFile file = TensorFile::Parse(bytes, "x");
  EXPECT_EQ(file.Size(), 7U);
  EXPECT_EQ(file.Names().front(), "a.codes");
  EXPECT_EQ(file.Names().back(), "step");
  const auto weight = file.Find<float>("b.weight", {2, 3});
  ASSERT_EQ(weight.size(), 6U);
  EXPECT_EQ(weight[0], 1.5F);
  EXPECT_TRUE(std::signbit(weight[5]));
  EXPECT_EQ(file.Find<int8_t>("a.codes", {3})[2], 127);
  EXPECT_EQ(file.Find<int64_t>("step", {})[0], 1234567890123);
  EXPECT_TRUE(file.Find<uint8_t>("empty", {0, 4}).empty());
  EXPECT_EQ(file.Find<double>("mean", {2})[1], 1e300);
  EXPECT_EQ(file.Find<uint64_t>("seed", {1})[0], ~uint64_t{0});
  EXPECT_EQ(file.Find<int32_t>("index", {2})[1], 1 << 30);
  EXPECT_EQ(file.Metadata("genotype"), "normal_0=[('sep_conv_3x3', 0, 2)]\n\"quoted\"");
  EXPECT_EQ(file.Metadata().size(), 1U);  // the checksum is the file's own affair
  EXPECT_EQ(file.Serialize(), bytes);
  std::vector<float> copy(6);
  file.CopyTo<float>("b.weight", {2, 3}, copy);
  EXPECT_EQ(copy[4], 5);
}

TEST(TensorFile, BytesDoNotDependOnOrderOfAdding) {
  TensorFile one;
  one.Add("x", {1}, std::vector<float>{1});
  one.Add("a", {1}, std::vector<int8_t>{2});
  TensorFile two;
  two.Add("a", {1}, std::vector<int8_t>{2});
  two.Add("x", {1}, std::vector<float>{1});
  EXPECT_EQ(one.Serialize(), two.Serialize());
}

TEST(TensorFile, DataIsAlignedAndEmptyFileWorks) {
  const std::string bytes = Sample().Serialize();
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0U);
  EXPECT_EQ(TensorFile::Parse(TensorFile().Serialize(), "x").Size(), 0U);
}

TEST(TensorFile, EveryFlippedBitIsFound) {
  const std::string bytes = Sample().Serialize();
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    EXPECT_THROW((void)TensorFile::Parse(flipped, "x"), Error) << "byte " << i;
  }
}

TEST(TensorFile, EveryTruncationIsFound) {
  const std::string bytes = Sample().Serialize();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string error = ParseError(bytes.substr(0, size));
    EXPECT_NE(error.find("truncated"), std::string::npos) << size << ": " << error;
  }
  EXPECT_NE(ParseError(bytes + "x").find("too long"), std::string::npos);
}

TEST(TensorFile, MalformedHeaders) {
  const std::string four(4, 'd');
  EXPECT_EQ(ParseError(Raw(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four)),
            "no error");
  EXPECT_NE(ParseError(Raw(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four),
                       TensorFile::Checksum::kRequired)
                .find("no checksum"),
            std::string::npos);
  const std::string bad[] = {
      "not json",
      "[1]",
      R"({"w":{"dtype":"F32","shape":[1]}})",
      R"({"w":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})",
      R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})",
      R"({"w":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})",
      R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})",
      R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})",
      R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
      R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})",
      R"({"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}})",
      R"({"w":{"dtype":"I8","shape":[3],"data_offsets":[0,3]},"v":{"dtype":"I8","shape":[2],"data_offsets":[2,4]}})",
      R"({"w":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"v":{"dtype":"I8","shape":[2],"data_offsets":[2,4]}})",
      R"({"w":{"dtype":"I8","shape":[3],"data_offsets":[0,3]}})",
      R"({"":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}})",
      R"({"__metadata__":{"a":1},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
      R"({"__metadata__":{"sha256":"0"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
  };
  for (const std::string& header : bad) {
    EXPECT_THROW((void)TensorFile::Parse(Raw(header, four), "x", TensorFile::Checksum::kIfPresent),
                 Error)
        << header;
  }
}

TEST(TensorFile, AddAndFindRejectMistakes) {
  TensorFile file = Sample();
  EXPECT_THROW(file.Add("step", {1}, std::vector<float>{1}), Error);
  EXPECT_THROW(file.Add("short", {3}, std::vector<float>{1, 2}), Error);
  EXPECT_THROW(file.Add("", {1}, std::vector<float>{1}), Error);
  EXPECT_THROW(file.SetMetadata("sha256", "x"), Error);
  EXPECT_THROW((void)file.Metadata("absent"), Error);
  EXPECT_THROW((void)file.Find<float>("absent", {1}), Error);
  EXPECT_THROW((void)file.Find<int32_t>("b.weight", {2, 3}), Error);
  try {
    (void)file.Find<float>("b.weight", {3, 2});
    FAIL();
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("b.weight"), std::string::npos);
    EXPECT_NE(text.find("F32[2,3]"), std::string::npos);
    EXPECT_NE(text.find("F32[3,2]"), std::string::npos);
  }
}

TEST(TensorFile, SaveAndLoad) {
  const std::string path = testing::TempDir() + "ftt_tensor_file_test.safetensors";
  Sample().Save(path);
  EXPECT_EQ(TensorFile::Load(path).Serialize(), Sample().Serialize());
  std::filesystem::remove(path);
  EXPECT_THROW((void)TensorFile::Load(path), Error);
}

}  // namespace
}  // namespace ftt
