#include "data/fetch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/digest.h"
#include "core/file.h"
#include "data/check.h"
#include "data/dataset.h"
#include "temp_dir.h"

namespace ftt {
namespace {
namespace fs = std::filesystem;

std::string Records(int count) {
  std::string bytes(static_cast<size_t>(count) * 3074, 'g');
  for (size_t i = 0; i < static_cast<size_t>(count); ++i)
    bytes[i * 3074 + 1] = static_cast<char>(i % 100);
  return bytes;
}

// Everything under a folder, as relative paths.
std::vector<std::string> Listing(const std::string& dir) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    names.push_back(fs::relative(entry.path(), dir).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Archives of a grey CIFAR-100: its labels have no official order that the check would insist on.
class Fetch : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v curl >/dev/null && command -v tar >/dev/null") != 0) {
      GTEST_SKIP() << "curl and tar are needed to fetch";
    }
    fs::create_directory(remote_ / "cifar-100-binary");
  }
  void Pack(int train, int test) {
    AtomicWriteFile(remote_ / "cifar-100-binary/train.bin", Records(train));
    AtomicWriteFile(remote_ / "cifar-100-binary/test.bin", Records(test));
    const std::string command =
        "cd '" + remote_.Path() + "' && tar -cf - cifar-100-binary | gzip -1 > archive.tar.gz";
    ASSERT_EQ(std::system(command.c_str()), 0);
    source_ = {"file://" + (remote_ / "archive.tar.gz"),
               FileDigest(remote_ / "archive.tar.gz", DigestKind::kMd5), "cifar-100-binary"};
    options_.source = &source_;
  }

  TempDir remote_, local_;
  FetchSource source_;
  FetchOptions options_;
};

TEST_F(Fetch, UnpacksAVerifiedArchiveAndIsIdempotent) {
  Pack(50000, 10000);
  const std::string dir = local_ / "deep/data";
  EXPECT_EQ(FetchDataset("cifar100", dir, options_), dir + "/cifar-100-binary");
  EXPECT_EQ(Listing(dir),
            (std::vector<std::string>{"cifar-100-binary", "cifar-100-binary/MD5SUMS",
                                      "cifar-100-binary/test.bin", "cifar-100-binary/train.bin"}));
  const DatasetReport report = CheckDataset("", dir);
  EXPECT_TRUE(report.Ok()) << Format(report);
  EXPECT_EQ(report.name, "cifar100");
  EXPECT_EQ(report.files[1].official, Official::kYes);
  EXPECT_EQ(report.test_per_class, std::vector<int64_t>(100, 100));
  // Again: nothing is downloaded, so a bad source does not matter.
  source_.url = "file:///no/such/archive";
  EXPECT_EQ(FetchDataset("cifar100", dir, options_), dir + "/cifar-100-binary");
  // Damage is seen and not overwritten unasked.
  fs::resize_file(dir + "/cifar-100-binary/train.bin", 3074);
  EXPECT_ERROR(FetchDataset("cifar100", dir, options_), "remove it, then fetch again");
}

TEST_F(Fetch, FailuresLeaveNothing) {
  const auto fails = [&](const std::string& text) {
    const std::string message =
        ErrorOf([&] { FetchDataset("cifar100", local_ / "deep/data", options_); });
    EXPECT_NE(message.find(text), std::string::npos) << message;
    EXPECT_TRUE(Listing(local_.Path()).empty()) << Listing(local_.Path()).front();
  };
  Pack(1, 1);
  const FetchSource good = source_;
  source_.md5[0] = source_.md5[0] == '0' ? '1' : '0';
  fails("nothing was unpacked");
  source_ = good;
  source_.url += ".missing";
  fails("cannot download");
  source_ = good;
  source_.folder = "cifar-10-batches-bin";
  fails("the archive has no folder");
  source_ = good;
  fails("has 1 records, expected 50000");
  AtomicWriteFile(remote_ / "archive.tar.gz", "not an archive");
  source_.md5 = Md5Hex("not an archive");
  fails("tar ended with status");
}

TEST_F(Fetch, RemovesWhatAKilledFetchLeftAndKeepsOtherFiles) {
  Pack(1, 1);
  fs::create_directories(local_ / "cifar-100-binary.fetch.tmp/unpacked/cifar-100-binary");
  AtomicWriteFile(local_ / "cifar-100-binary.fetch.tmp/unpacked/cifar-100-binary/old", "x");
  AtomicWriteFile(local_ / "mine", "x");
  source_.url += ".missing";
  EXPECT_ERROR(FetchDataset("cifar100", local_.Path(), options_), "cannot download");
  EXPECT_EQ(Listing(local_.Path()), std::vector<std::string>{"mine"});
}

TEST(OfficialSource, KnowsOnlyCifar) {
  EXPECT_EQ(OfficialSource("cifar10").md5, "c32a1d4ab5d03f1284b67883e8d87530");
  EXPECT_ERROR(OfficialSource("mnist"), "only cifar10 and cifar100");
}

TEST(FetchDataset, SaysWhatIsMissing) {
  const TempDir dir;
  const ScopedEnv path("PATH", dir.Path().c_str());
  EXPECT_ERROR(FetchDataset("cifar10", dir / "data"), "neither curl nor wget");
  EXPECT_FALSE(PathExists(dir / "data"));
}

}  // namespace
}  // namespace ftt
