#include "core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace ftt {
namespace fs = std::filesystem;
namespace {

std::string Reason(int code) { return std::generic_category().message(code); }

// A file descriptor that is closed on every way out.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int Get() const { return fd_; }
  int Close() { return ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

std::string ParentOf(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

void SyncDir(const std::string& path) {
  const Descriptor dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  FTT_CHECK(dir.Get() >= 0, "cannot open folder {}: {}", path, Reason(errno));
  // Some network file systems refuse to sync a folder; there is nothing more to do on them.
  FTT_CHECK(::fsync(dir.Get()) == 0 || errno == EINVAL || errno == ENOTSUP,
            "cannot sync folder {}: {}", path, Reason(errno));
}

// Creates or truncates `path` and writes and syncs all bytes.
void WriteAndSync(const std::string& path, std::string_view bytes) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  FTT_CHECK(file.Get() >= 0, "cannot create {}: {}", path, Reason(errno));
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.Get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    FTT_CHECK(written >= 0, "cannot write {}: {}", path, Reason(errno));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  FTT_CHECK(::fsync(file.Get()) == 0, "cannot sync {}: {}", path, Reason(errno));
  FTT_CHECK(file.Close() == 0, "cannot close {}: {}", path, Reason(errno));
}

void RemoveAll(const std::string& path) {
  std::error_code code;
  fs::remove_all(path, code);
  FTT_CHECK(!code, "cannot remove {}: {}", path, code.message());
}

void Rename(const std::string& from, const std::string& to) {
  FTT_CHECK(::rename(from.c_str(), to.c_str()) == 0, "cannot rename {} to {}: {}", from, to,
            Reason(errno));
}

}  // namespace

std::string ReadFile(const std::string& path, int64_t max_bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  FTT_CHECK(file.Get() >= 0, "cannot open {}: {}", path, Reason(errno));
  struct stat status {};
  FTT_CHECK(::fstat(file.Get(), &status) == 0, "cannot read {}: {}", path, Reason(errno));
  FTT_CHECK(!S_ISDIR(status.st_mode), "cannot read {}: it is a folder, expected a file", path);
  std::string bytes;
  // The size is a hint only: special files report 0 and others may grow.
  bytes.resize(static_cast<size_t>(std::max<int64_t>(status.st_size, 0)) + 1);
  size_t used = 0;
  while (true) {
    if (used == bytes.size()) bytes.resize(bytes.size() * 2);
    const ssize_t count = ::read(file.Get(), bytes.data() + used, bytes.size() - used);
    if (count < 0 && errno == EINTR) continue;
    FTT_CHECK(count >= 0, "cannot read {}: {}", path, Reason(errno));
    if (count == 0) break;
    used += static_cast<size_t>(count);
    FTT_CHECK(max_bytes == 0 || used <= static_cast<size_t>(max_bytes),
              "{} is larger than the {} bytes expected at most", path, max_bytes);
  }
  bytes.resize(used);
  return bytes;
}

void AtomicWriteFile(const std::string& path, std::string_view bytes) {
  const std::string temporary = path + ".tmp";
  try {
    WriteAndSync(temporary, bytes);
    Rename(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  SyncDir(ParentOf(path));
}

bool PathExists(const std::string& path) {
  std::error_code code;
  return fs::exists(path, code);
}

bool IsDirectory(const std::string& path) {
  std::error_code code;
  return fs::is_directory(path, code);
}

void CheckWritableDir(const std::string& path) {
  FTT_CHECK(!path.empty(), "the output folder has an empty name");
  // The nearest ancestor that is there decides whether the rest can be created.
  std::error_code code;
  fs::path existing = fs::absolute(path, code);
  FTT_CHECK(!code, "cannot resolve {}: {}", path, code.message());
  while (!fs::exists(fs::symlink_status(existing, code)) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  const std::string found = existing.string();
  struct stat status {};
  FTT_CHECK(::stat(found.c_str(), &status) == 0, "cannot use folder {}: {}: {}", path, found,
            Reason(errno));
  FTT_CHECK(S_ISDIR(status.st_mode), "cannot use folder {}: {} is not a folder", path, found);
  const bool marked_read_only = (status.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH)) == 0;
  const bool denied = ::access(found.c_str(), W_OK | X_OK) != 0;
  const int access_error = errno;
  FTT_CHECK(!marked_read_only && !denied,
            "cannot write to folder {}: {}; choose another one or change its permissions", found,
            denied ? Reason(access_error) : std::string("it is read-only"));
}

void EnsureWritableDir(const std::string& path) {
  CheckWritableDir(path);
  std::error_code code;
  fs::create_directories(path, code);
  FTT_CHECK(!code, "cannot create folder {}: {}", path, code.message());
}

void RemoveTree(const std::string& path, const std::string& root) {
  std::error_code code;
  if (!fs::exists(fs::symlink_status(path, code))) return;
  const fs::path inner = fs::canonical(path, code);
  FTT_CHECK(!code, "cannot resolve {}: {}", path, code.message());
  const fs::path outer = fs::canonical(root, code);
  FTT_CHECK(!code, "cannot resolve {}: {}", root, code.message());
  const auto [outer_end, inner_rest] =
      std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  FTT_CHECK(outer_end == outer.end() && inner_rest != inner.end(),
            "refusing to remove {}: it does not lie inside {}", path, root);
  RemoveAll(path);
}

std::vector<int64_t> NumberedDirs(const std::string& dir, const std::string& prefix) {
  std::vector<int64_t> numbers;
  std::error_code code;
  for (fs::directory_iterator it(dir, code), end; !code && it != end; it.increment(code)) {
    const std::string name = it->path().filename().string();
    std::error_code ignored;
    if (!name.starts_with(prefix) || !it->is_directory(ignored)) continue;
    int64_t number = -1;
    const char* last = name.data() + name.size();
    const auto [end_of_number, failure] =
        std::from_chars(name.data() + prefix.size(), last, number);
    if (failure == std::errc() && end_of_number == last && number >= 0) numbers.push_back(number);
  }
  FTT_CHECK(!code, "cannot list folder {}: {}", dir, code.message());
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

DirLock::DirLock(const std::string& dir) {
  const std::string path = (fs::path(dir) / ".lock").string();
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  FTT_CHECK(fd_ >= 0, "cannot create {}: {}", path, Reason(errno));
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    char owner[32] = {};
    const ssize_t length = ::pread(fd_, owner, sizeof(owner) - 1, 0);
    ::close(std::exchange(fd_, -1));
    FTT_CHECK(code == EWOULDBLOCK, "cannot lock {}: {}", path, Reason(code));
    Fail("folder {} is in use by another run (process {}); wait for it or choose another folder",
         dir, length > 0 ? owner : "unknown");
  }
  const std::string owner = std::to_string(::getpid());
  // The number only helps the reader of an error message; failing to write it harms nothing.
  if (::ftruncate(fd_, 0) == 0) (void)!::pwrite(fd_, owner.data(), owner.size(), 0);
}

DirLock::~DirLock() {
  if (fd_ >= 0) ::close(fd_);
}

DirLock::DirLock(DirLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

DirLock& DirLock::operator=(DirLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

DirPublisher::DirPublisher(std::string final_path)
    : final_path_(std::move(final_path)), temporary_path_(final_path_ + ".tmp") {
  RemoveAll(temporary_path_);
  FTT_CHECK(::mkdir(temporary_path_.c_str(), 0777) == 0, "cannot create folder {}: {}",
            temporary_path_, Reason(errno));
}

DirPublisher::~DirPublisher() {
  std::error_code ignored;
  if (!published_) fs::remove_all(temporary_path_, ignored);
}

void DirPublisher::Write(const std::string& name, std::string_view bytes) {
  FTT_CHECK(!name.empty() && name.find('/') == std::string::npos, "bad file name '{}' in {}", name,
            final_path_);
  WriteAndSync((fs::path(temporary_path_) / name).string(), bytes);
}

void DirPublisher::Publish() {
  SyncDir(temporary_path_);
  const std::string replaced = final_path_ + ".old";
  RemoveAll(replaced);
  if (PathExists(final_path_)) Rename(final_path_, replaced);
  Rename(temporary_path_, final_path_);
  published_ = true;
  SyncDir(ParentOf(final_path_));
  RemoveAll(replaced);
}

}  // namespace ftt
