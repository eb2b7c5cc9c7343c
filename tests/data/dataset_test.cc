#include "data/dataset.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/file.h"
#include "data/check.h"
#include "data/formats.h"
#include "temp_dir.h"

namespace ftt {
namespace {

// A CIFAR record whose red, green and blue planes hold base, base+1, base+2, but 200 in the first
// red and 201 in the last blue pixel.
std::string Record(const std::vector<int>& labels, int base) {
  std::string record;
  for (const int label : labels) record += static_cast<char>(label);
  for (int c = 0; c < 3; ++c) record += std::string(1024, static_cast<char>(base + c));
  record[labels.size()] = static_cast<char>(200);
  record.back() = static_cast<char>(201);
  return record;
}

std::string BigEndian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::string IdxImages(uint32_t count, uint32_t height, uint32_t width) {
  std::string bytes = BigEndian(0x803) + BigEndian(count) + BigEndian(height) + BigEndian(width);
  for (uint32_t i = 0; i < count * height * width; ++i) bytes += static_cast<char>(i % 251);
  return bytes;
}

std::string IdxLabels(const std::vector<int>& labels) {
  std::string bytes = BigEndian(0x801) + BigEndian(static_cast<uint32_t>(labels.size()));
  for (const int label : labels) bytes += static_cast<char>(label);
  return bytes;
}

void WriteGzip(const std::string& path, const std::string& bytes) {
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())),
            static_cast<int>(bytes.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
}

void WriteSmallMnist(const std::string& dir) {
  WriteGzip(dir + "/train-images-idx3-ubyte.gz", IdxImages(12, 5, 4));
  AtomicWriteFile(dir + "/train-labels-idx1-ubyte",
                  IdxLabels({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1}));
  AtomicWriteFile(dir + "/t3k-images-idx3-ubyte", IdxImages(3, 5, 4));
  WriteGzip(dir + "/t3k-labels-idx1-ubyte.gz", IdxLabels({9, 0, 5}));
}

TEST(Cifar, RecordsBecomeInterleavedImages) {
  const TempDir dir;
  AtomicWriteFile(dir / "a.bin", Record({3}, 10) + Record({9}, 20));
  ImageSet set;
  AppendCifarFile(dir / "a.bin", kCifar10Layout, 2, &set);
  AppendCifarFile(dir / "a.bin", kCifar10Layout, 2, &set);
  ASSERT_EQ(set.Size(), 4);
  EXPECT_EQ(set.labels, (std::vector<uint8_t>{3, 9, 3, 9}));
  const uint8_t* last = set.Image(3);
  EXPECT_EQ(last + 3072, set.pixels.data() + set.pixels.size());
  EXPECT_EQ((std::vector<uint8_t>(last, last + 6)),
            (std::vector<uint8_t>{200, 21, 22, 20, 21, 22}));
  EXPECT_EQ((std::vector<uint8_t>(last + 3069, last + 3072)), (std::vector<uint8_t>{20, 21, 201}));
}

TEST(Cifar, ImagesBecomeRecordsAgain) {
  const TempDir dir;
  const std::string records = Record({3}, 10) + Record({9}, 20);
  AtomicWriteFile(dir / "a.bin", records);
  ImageSet set;
  AppendCifarFile(dir / "a.bin", kCifar10Layout, 2, &set);
  EXPECT_EQ(CifarRecords(set, 2), records);
  EXPECT_EQ(CifarRecords(set, 1), Record({3}, 10));
  EXPECT_ERROR(CifarRecords(set, 3), "3 of 2 images");
}

TEST(Cifar, HundredTakesTheFineLabel) {
  const TempDir dir;
  AtomicWriteFile(dir / "a.bin", Record({19, 99}, 10) + Record({0, 0}, 20));
  ImageSet set;
  AppendCifarFile(dir / "a.bin", kCifar100Layout, 2, &set);
  EXPECT_EQ(set.labels, (std::vector<uint8_t>{99, 0}));
  EXPECT_EQ(set.Image(1)[0], 200);
  EXPECT_EQ(set.Image(1)[1], 21);
}

TEST(Cifar, BadFilesAreNamed) {
  const TempDir dir;
  const std::string good = Record({1}, 1) + Record({2}, 2) + Record({10}, 3);
  ImageSet set;
  AtomicWriteFile(dir / "cut.bin", good.substr(0, good.size() - 1));
  EXPECT_ERROR(AppendCifarFile(dir / "cut.bin", kCifar10Layout, 3, &set),
               "cut.bin: 9218 bytes are not a multiple");
  AtomicWriteFile(dir / "label.bin", good);
  EXPECT_ERROR(AppendCifarFile(dir / "label.bin", kCifar10Layout, 3, &set),
               "record 2 has label 10, outside 0..9");
  EXPECT_ERROR(AppendCifarFile(dir / "label.bin", kCifar10Layout, 4, &set),
               "has 3 records, expected 4");
  EXPECT_ERROR(AppendCifarFile(dir / "none.bin", kCifar10Layout, 4, &set), "none.bin is missing");
  AtomicWriteFile(dir / "hundred.bin", Record({0, 100}, 1));
  EXPECT_ERROR(AppendCifarFile(dir / "hundred.bin", kCifar100Layout, 1, &set),
               "label 100, outside 0..99");
}

TEST(Cifar, LoadSaysWhichFileIsMissingOrShort) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "cifar-10-batches-bin");
  AtomicWriteFile(dir / "cifar-10-batches-bin/data_batch_2.bin", Record({1}, 1));
  EXPECT_ERROR(LoadDataset("cifar10:" + dir.Path()), "data_batch_1.bin is missing");
  AtomicWriteFile(dir / "cifar-10-batches-bin/data_batch_1.bin", Record({1}, 1));
  EXPECT_ERROR(LoadDataset("cifar10:" + dir.Path()),
               "data_batch_1.bin: has 1 records, expected 10000");
  EXPECT_ERROR(LoadDataset("cifar10:" + (dir / "cifar-10-batches-bin")),
               "data_batch_1.bin: has 1 records");
}

TEST(Idx, ReadsPlainAndGzippedFiles) {
  const TempDir dir;
  WriteSmallMnist(dir.Path());
  const Dataset data = LoadDataset("mnist:" + dir.Path());
  EXPECT_EQ(data.name, "mnist");
  EXPECT_EQ(data.classes, 10);
  EXPECT_EQ(data.train.Size(), 12);
  EXPECT_EQ(data.test.Size(), 3);
  EXPECT_EQ(data.train.height, 5);
  EXPECT_EQ(data.train.width, 4);
  EXPECT_EQ(data.train.channels, 1);
  EXPECT_EQ(data.train.labels.back(), 1);
  EXPECT_EQ(data.test.labels.front(), 9);
  EXPECT_EQ(data.train.Image(0)[0], 0);
  EXPECT_EQ(data.train.Image(11)[19], 239);
  // Pixels 0..239, once each.
  EXPECT_NEAR(data.mean[0], 119.5 / 255, 1e-6);
  EXPECT_NEAR(data.stddev[0], std::sqrt((240.0 * 240.0 - 1) / 12) / 255, 1e-6);
}

TEST(Idx, BadFilesAreNamed) {
  const TempDir dir;
  const auto load = [&] { LoadDataset("mnist:" + dir.Path()); };
  const std::string images = dir / "train-images-idx3-ubyte",
                    labels = dir / "train-labels-idx1-ubyte";
  WriteSmallMnist(dir.Path());
  AtomicWriteFile(images, IdxLabels({1}) + std::string(20, 'x'));
  EXPECT_ERROR(load(), "train-images-idx3-ubyte: magic number 0x00000801, expected 0x00000803");
  AtomicWriteFile(images, IdxImages(12, 5, 4).substr(0, 255));
  EXPECT_ERROR(load(), "announces 12 images (240 bytes), the file has 239 bytes");
  AtomicWriteFile(images, IdxImages(12, 5, 4) + "x");
  EXPECT_ERROR(load(), "the file has 241 bytes");
  AtomicWriteFile(images, IdxImages(12, 5, 4).substr(0, 15));
  EXPECT_ERROR(load(), "15 bytes are too few for the header");
  AtomicWriteFile(images, IdxImages(0, 5, 4));
  EXPECT_ERROR(load(), "holds no images");
  AtomicWriteFile(images,
                  BigEndian(0x803) + BigEndian(0xFFFFFFFF) + BigEndian(0xFFFFFFFF) + BigEndian(4));
  EXPECT_ERROR(load(), "image side 4294967295");
  AtomicWriteFile(images, IdxImages(11, 5, 4));
  EXPECT_ERROR(load(), "has 12 labels, but");
  AtomicWriteFile(images, IdxImages(12, 4, 5));
  EXPECT_ERROR(load(), "do not belong together");
  std::filesystem::remove(images);
  AtomicWriteFile(labels, IdxLabels({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10}));
  EXPECT_ERROR(load(), "label 10 of image 11 is outside 0..9");
  std::filesystem::remove(labels);
  EXPECT_ERROR(load(), "train-labels-idx1-ubyte (or");
}

TEST(Idx, DamagedGzipIsAnError) {
  const TempDir dir;
  WriteGzip(dir / "good", IdxImages(200, 10, 10));
  std::string bytes = ReadFile(dir / "good");
  EXPECT_EQ(ReadMaybeGzip(dir / "good", 1 << 20), IdxImages(200, 10, 10));
  EXPECT_ERROR(ReadMaybeGzip(dir / "good", 2000), "decompresses to more than 2000 bytes");
  AtomicWriteFile(dir / "cut", bytes.substr(0, bytes.size() - 1));
  EXPECT_ERROR(ReadMaybeGzip(dir / "cut", 1 << 20), "truncated or damaged");
  AtomicWriteFile(dir / "cut", bytes.substr(0, 5));
  EXPECT_ERROR(ReadMaybeGzip(dir / "cut", 1 << 20), "truncated or damaged");
  AtomicWriteFile(dir / "tail", bytes + "x");
  EXPECT_ERROR(ReadMaybeGzip(dir / "tail", 1 << 20), "1 bytes follow");
  bytes[bytes.size() - 6] = static_cast<char>(bytes[bytes.size() - 6] ^ 1);  // in the checksum
  AtomicWriteFile(dir / "sum", bytes);
  EXPECT_ERROR(ReadMaybeGzip(dir / "sum", 1 << 20), "truncated or damaged");
}

TEST(FindDataFolder, TriesTheFolderItsChildrenAndTheUsualPlaces) {
  const TempDir dir;
  const ScopedEnv unset("FTT_DATA_DIR", nullptr);
  EXPECT_ERROR(LoadDataset("cifar10:/no/such/folder"), "folder /no/such/folder does not exist");
  EXPECT_ERROR(LoadDataset("cifar10:" + dir.Path()), "ftt-cuda data fetch cifar10 DIR");
  EXPECT_ERROR(FindDataFolder("cifar100", ""), "data/cifar-100-binary");
  EXPECT_ERROR(FindDataFolder("cifar100", ""), "or set FTT_DATA_DIR");
  AtomicWriteFile(dir / "file", "x");
  EXPECT_ERROR(FindDataFolder("mnist", dir / "file"), "is a file");

  std::filesystem::create_directories(dir / "MNIST/raw");
  WriteSmallMnist(dir / "MNIST/raw");
  EXPECT_EQ(FindDataFolder("mnist", dir.Path()), dir / "MNIST/raw");
  EXPECT_EQ(FindDataFolder("mnist", dir / "MNIST/raw"), dir / "MNIST/raw");
  {
    const ScopedEnv set("FTT_DATA_DIR", dir.Path().c_str());
    EXPECT_EQ(LoadDataset("mnist").test.Size(), 3);
    EXPECT_ERROR(LoadDataset("cifar10"), dir / "cifar-10-batches-bin");
  }
  // MNIST's files are not taken for fashion-mnist unless the user points at them.
  const ScopedEnv set("FTT_DATA_DIR", (dir / "MNIST/raw").c_str());
  EXPECT_EQ(LoadDataset("mnist").train.Size(), 12);
  EXPECT_ERROR(LoadDataset("fashion-mnist"), "no data files");
  EXPECT_EQ(LoadDataset("fashion-mnist:" + (dir / "MNIST/raw")).class_names[9], "ankle boot");
}

TEST(ParseDatasetSpec, RejectsUnknownNames) {
  EXPECT_EQ(ParseDatasetSpec("cifar10:a:b").rest, "a:b");
  EXPECT_ERROR(LoadDataset("cifar11"),
               "unknown data set 'cifar11': write NAME[:DIR] with one of shapes, cifar10");
  EXPECT_ERROR(LoadDataset(""), "unknown data set ''");
  EXPECT_ERROR(LoadDataset("mnist:"), "nothing follows the colon");
}

TEST(CheckDataset, ListsEveryProblem) {
  const TempDir dir;
  AtomicWriteFile(dir / "data_batch_1.bin", Record({1}, 1));
  AtomicWriteFile(dir / "test_batch.bin", "x");
  const DatasetReport report = CheckDataset("", dir.Path());
  EXPECT_EQ(report.name, "cifar10");
  EXPECT_EQ(report.files.size(), 6u);
  EXPECT_EQ(report.problems.size(), 6u);
  EXPECT_NE(Format(report).find("PROBLEM: " + (dir / "data_batch_5.bin") + " is missing"),
            std::string::npos);
  EXPECT_NE(report.problems.back().find("test_batch.bin: 1 bytes"), std::string::npos);
  EXPECT_ERROR(CheckDataset("", dir / "none"), "no data set found");
}

TEST(CheckDataset, CountsAndVerifiesTheManifest) {
  const TempDir dir;
  WriteSmallMnist(dir.Path());
  DatasetReport report = CheckDataset("mnist", dir.Path());
  EXPECT_TRUE(report.Ok()) << Format(report);
  EXPECT_EQ(report.train_per_class, (std::vector<int64_t>{2, 2, 1, 1, 1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(report.test_per_class[9], 1);
  for (const FileReport& file : report.files) EXPECT_EQ(file.official, Official::kNo);
  AtomicWriteFile(dir / kManifestName, report.files[0].md5 + "  train-images-idx3-ubyte.gz\n");
  EXPECT_TRUE(CheckDataset("mnist", dir.Path()).Ok());
  AtomicWriteFile(dir / kManifestName, report.files[1].md5 + "  train-images-idx3-ubyte.gz\n");
  report = CheckDataset("mnist", dir.Path());
  ASSERT_EQ(report.problems.size(), 1u);
  EXPECT_NE(report.problems[0].find("not that of the fetched file"), std::string::npos);
}

// The folder with real data sets, or empty.
std::string RealData(const std::string& name) {
  for (const std::string& place :
       {std::string(std::getenv("FTT_DATA_DIR") ? std::getenv("FTT_DATA_DIR") : ""),
        std::string(FTT_SOURCE_DIR "/../shared/data")}) {
    try {
      if (!place.empty() && IsDirectory(place)) return FindDataFolder(name, place);
    } catch (const Error&) {
      // Not there; the next place may have it.
    }
  }
  return "";
}

TEST(RealData, Cifar10) {
  const std::string dir = RealData("cifar10");
  if (dir.empty()) GTEST_SKIP() << "CIFAR-10 is not in FTT_DATA_DIR";
  const Dataset data = LoadDataset("cifar10:" + dir);
  EXPECT_EQ(data.train.Size(), 50000);
  EXPECT_EQ(data.test.Size(), 10000);
  EXPECT_EQ(data.class_names[data.train.labels[0]], "frog");
  EXPECT_EQ(data.train.labels[49999], 1);
  EXPECT_EQ(data.class_names[data.test.labels[0]], "cat");
  EXPECT_EQ(data.test.labels[9999], 7);
  Dataset computed = data;
  ComputeStatistics(&computed);
  for (size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(computed.mean[c], data.mean[c], 2e-3);
    EXPECT_NEAR(computed.stddev[c], data.stddev[c], 5e-3);
  }
}

TEST(RealData, Cifar10ChecksOut) {
  const std::string dir = RealData("cifar10");
  if (dir.empty()) GTEST_SKIP() << "CIFAR-10 is not in FTT_DATA_DIR";
  const DatasetReport report = CheckDataset("", dir);
  EXPECT_TRUE(report.Ok()) << Format(report);
  EXPECT_EQ(report.name, "cifar10");
  EXPECT_EQ(report.train_per_class, std::vector<int64_t>(10, 5000));
  EXPECT_FALSE(report.notes.empty());
}

TEST(RealData, Mnist) {
  const std::string dir = RealData("mnist");
  if (dir.empty()) GTEST_SKIP() << "MNIST is not in FTT_DATA_DIR";
  const Dataset data = LoadDataset("mnist:" + dir);
  EXPECT_EQ(data.train.Size(), 60000);
  EXPECT_GE(data.test.Size(), 3000);
  EXPECT_EQ(data.train.labels[0], 5);
  EXPECT_EQ(data.train.labels[59999], 8);
  EXPECT_EQ(data.test.labels[0], 7);
  EXPECT_NEAR(data.mean[0], 0.1307, 1e-4);
  EXPECT_NEAR(data.stddev[0], 0.3081, 1e-4);
  EXPECT_TRUE(CheckDataset("mnist", dir).Ok());
}

}  // namespace
}  // namespace ftt
