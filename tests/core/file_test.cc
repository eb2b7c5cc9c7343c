#include "core/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/digest.h"
#include "core/error.h"
#include "tests/data/temp_dir.h"

namespace ftt {
namespace {
namespace fs = std::filesystem;

// A fresh folder per test, removed afterwards.
class FileTest : public testing::Test {
 protected:
  void TearDown() override { ::chmod((dir_ + "/locked").c_str(), 0755); }
  std::string Path(const std::string& name) const { return dir_ + "/" + name; }
  size_t EntryCount() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_), {}));
  }
  const TempDir temp_;
  const std::string dir_ = temp_.Path();
};

TEST_F(FileTest, AtomicWriteReplacesAndLeavesNothingElse) {
  const std::string bytes("first\0byte", 10);
  AtomicWriteFile(Path("a"), bytes);
  EXPECT_EQ(ReadFile(Path("a")), bytes);
  AtomicWriteFile(Path("a"), "");
  EXPECT_EQ(ReadFile(Path("a")), "");
  const std::string large(3 << 20, 'x');
  AtomicWriteFile(Path("a"), large);
  EXPECT_EQ(ReadFile(Path("a")), large);
  EXPECT_EQ(EntryCount(), 1U);
}

TEST_F(FileTest, FailedAtomicWriteKeepsTheOldFile) {
  fs::create_directories(Path("folder/inside"));
  EXPECT_THROW(AtomicWriteFile(Path("folder"), "x"), Error);  // cannot replace a folder
  EXPECT_TRUE(fs::is_directory(Path("folder/inside")));
  EXPECT_EQ(EntryCount(), 1U);
  EXPECT_THROW(AtomicWriteFile(Path("absent/a"), "x"), Error);
  EXPECT_EQ(EntryCount(), 1U);
}

TEST_F(FileTest, ReadErrors) {
  EXPECT_THROW((void)ReadFile(Path("absent")), Error);
  EXPECT_THROW((void)ReadFile(dir_), Error);
  AtomicWriteFile(Path("a"), "12345");
  EXPECT_EQ(ReadFile(Path("a"), 5), "12345");
  EXPECT_THROW((void)ReadFile(Path("a"), 4), Error);
  EXPECT_GT(ReadFile("/proc/self/status").size(), 10U);  // a file that reports size 0
}

TEST_F(FileTest, WritableDir) {
  CheckWritableDir(Path("new/deep"));
  EXPECT_EQ(EntryCount(), 0U);  // checking creates nothing
  EnsureWritableDir(Path("new/deep"));
  EnsureWritableDir(Path("new/deep"));
  EXPECT_TRUE(IsDirectory(Path("new/deep")));
  AtomicWriteFile(Path("file"), "x");
  EXPECT_THROW(EnsureWritableDir(Path("file")), Error);
  EXPECT_THROW(EnsureWritableDir(Path("file/below")), Error);
  EXPECT_THROW(EnsureWritableDir(""), Error);
  fs::create_directory(Path("locked"));
  ASSERT_EQ(::chmod(Path("locked").c_str(), 0555), 0);
  EXPECT_THROW(EnsureWritableDir(Path("locked")), Error);
  EXPECT_THROW(EnsureWritableDir(Path("locked/below")), Error);
  EXPECT_TRUE(fs::is_empty(Path("locked")));
}

TEST_F(FileTest, RemoveTreeStaysInside) {
  fs::create_directories(Path("run/old/deep"));
  fs::create_directories(Path("other"));
  fs::create_directory_symlink(Path("other"), Path("run/link"));
  EXPECT_THROW(RemoveTree(Path("other"), Path("run")), Error);
  EXPECT_THROW(RemoveTree(Path("run"), Path("run")), Error);
  EXPECT_THROW(RemoveTree(Path("run/../other"), Path("run")), Error);
  EXPECT_THROW(RemoveTree(Path("run/link"), Path("run")), Error);
  EXPECT_TRUE(IsDirectory(Path("other")));
  RemoveTree(Path("run/old"), Path("run"));
  EXPECT_FALSE(PathExists(Path("run/old")));
  RemoveTree(Path("run/old"), Path("run"));  // missing is fine
}

TEST_F(FileTest, PublisherShowsOnlyCompleteFolders) {
  {
    DirPublisher aborted(Path("checkpoint-7"));
    aborted.Write("a", "1");
    EXPECT_FALSE(PathExists(Path("checkpoint-7")));
    EXPECT_TRUE(NumberedDirs(dir_, "checkpoint-").empty());
  }
  EXPECT_EQ(EntryCount(), 0U);
  for (const char* content : {"old", "new"}) {
    fs::create_directories(Path("checkpoint-7.tmp/leftover"));
    DirPublisher publisher(Path("checkpoint-7"));
    publisher.Write("a", content);
    publisher.Publish();
    EXPECT_EQ(ReadFile(Path("checkpoint-7/a")), content);
    EXPECT_FALSE(PathExists(Path("checkpoint-7/leftover")));
    EXPECT_EQ(EntryCount(), 1U);
  }
  EXPECT_THROW(DirPublisher(Path("b")).Write("../a", "x"), Error);
}

TEST_F(FileTest, NumberedDirsSortsByNumber) {
  for (const char* name : {"checkpoint-100", "checkpoint-20", "checkpoint-3", "checkpoint-4.tmp",
                           "checkpoint-", "checkpoint--5", "checkpoint-6x", "other-1"}) {
    fs::create_directory(Path(name));
  }
  AtomicWriteFile(Path("checkpoint-9"), "a file");
  EXPECT_EQ(NumberedDirs(dir_, "checkpoint-"), (std::vector<int64_t>{3, 20, 100}));
  EXPECT_THROW((void)NumberedDirs(Path("absent"), "x"), Error);
}

TEST_F(FileTest, LockIsExclusiveAndEndsWithItsHolder) {
  {
    const DirLock lock(dir_);
    try {
      const DirLock second(dir_);
      FAIL() << "locked twice";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(std::to_string(::getpid())), std::string::npos);
    }
  }
  const pid_t child = ::fork();
  if (child == 0) {
    DirLock lock(dir_);
    ::_exit(0);  // without unlocking, as a killed process would
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  const DirLock again(dir_);
}

// Vectors of RFC 1321 and FIPS 180-4.
TEST_F(FileTest, Digests) {
  EXPECT_EQ(Md5Hex(""), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(Md5Hex("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  AtomicWriteFile(Path("a"), std::string(1'000'000, 'a') + std::string(1'000'000, 'a'));
  Digest digest(DigestKind::kSha256);
  for (int i = 0; i < 2000; ++i) digest.Update(std::string(1000, 'a'));
  EXPECT_EQ(FileDigest(Path("a"), DigestKind::kSha256), digest.Finish());
  EXPECT_THROW((void)FileDigest(Path("absent"), DigestKind::kMd5), Error);
}

}  // namespace
}  // namespace ftt
