#include "core/events.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace ftt {
namespace {

std::string Reason(int code) { return std::generic_category().message(code); }

// Offset just behind the last line end of the first `size` bytes.
int64_t EndOfLastLine(int fd, int64_t size, const std::string& path) {
  char block[4096];
  while (size > 0) {
    const int64_t begin = std::max<int64_t>(0, size - static_cast<int64_t>(sizeof(block)));
    const ssize_t count = ::pread(fd, block, static_cast<size_t>(size - begin), begin);
    FTT_CHECK(count == size - begin, "cannot read {}: {}", path, Reason(errno));
    for (ssize_t i = count; i > 0; --i) {
      if (block[i - 1] == '\n') return begin + i;
    }
    size = begin;
  }
  return 0;
}

}  // namespace

EventLog::EventLog(std::string path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  FTT_CHECK(fd_ >= 0, "cannot open {}: {}", path_, Reason(errno));
  try {
    struct stat status {};
    FTT_CHECK(::fstat(fd_, &status) == 0, "cannot read {}: {}", path_, Reason(errno));
    offset_ = status.st_size;
    const int64_t end = EndOfLastLine(fd_, offset_, path_);
    if (end != offset_) TruncateTo(end);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

EventLog::~EventLog() { ::close(fd_); }

void EventLog::Write(const std::string& json_line) {
  FTT_CHECK(json_line.find('\n') == std::string::npos, "an event for {} spans several lines",
            path_);
  const std::string line = json_line + "\n";
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t count = ::write(fd_, line.data() + done, line.size() - done);
    if (count < 0 && errno == EINTR) continue;
    FTT_CHECK(count >= 0, "cannot write {}: {}", path_, Reason(errno));
    done += static_cast<size_t>(count);
    offset_ += count;
  }
}

void EventLog::TruncateTo(int64_t offset) {
  FTT_CHECK(offset >= 0 && offset <= offset_,
            "{} has {} bytes but the checkpoint recorded {}; the log was changed since", path_,
            offset_, offset);
  FTT_CHECK(::ftruncate(fd_, offset) == 0, "cannot truncate {}: {}", path_, Reason(errno));
  offset_ = offset;
}

void EventLog::Sync() {
  // Special files, such as a pipe, cannot be synced.
  FTT_CHECK(::fdatasync(fd_) == 0 || errno == EINVAL || errno == EROFS, "cannot sync {}: {}", path_,
            Reason(errno));
}

}  // namespace ftt
