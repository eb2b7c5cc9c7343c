// The log of a run: one JSON object per line, appended as things happen.
#pragma once

#include <cstdint>
#include <string>

namespace ftt {

class EventLog {
 public:
  // Opens `path` for appending and creates it if missing. A last line without a line end (left by a
  // killed run) is cut off. Throws when it cannot be opened.
  explicit EventLog(std::string path);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // Appends one line; it is with the operating system when this returns. `json_line` holds no line
  // break.
  void Write(const std::string& json_line);

  // Size in bytes. A checkpoint records it, after Sync.
  int64_t Offset() const { return offset_; }
  // Cuts the log back to what a checkpoint has recorded, so that a resumed run repeats no line.
  // Throws when the file is shorter than that.
  void TruncateTo(int64_t offset);
  // Forces all lines to the disk.
  void Sync();

 private:
  std::string path_;
  int fd_ = -1;
  int64_t offset_ = 0;
};

}  // namespace ftt
