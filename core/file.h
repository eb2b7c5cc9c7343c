// Files that survive a crash: whole or not there, never half written.
//
// Every function throws ftt::Error with the path, the reason given by the system and, where there
// is one, a way out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ftt {

// The whole file. Throws when it is missing, a folder, unreadable, or larger than `max_bytes` (0:
// no limit).
std::string ReadFile(const std::string& path, int64_t max_bytes = 0);

// Replaces `path` by a file with these bytes: writes `path`.tmp, syncs it, renames it over `path`
// and syncs the folder. After a crash the old or the new content is there. One writer at a time:
// runs hold a DirLock.
void AtomicWriteFile(const std::string& path, std::string_view bytes);

bool PathExists(const std::string& path);
bool IsDirectory(const std::string& path);

// Throws unless `path` is a folder that can be written to, or could be created as one. Creates
// nothing. A folder without any write permission bit counts as read-only for the superuser too.
void CheckWritableDir(const std::string& path);

// The same, and creates the folder and its parents.
void EnsureWritableDir(const std::string& path);

// Removes the folder `path` with all its content; does nothing when it is missing. `path` must lie
// strictly inside `root` (both resolved), so that a mistaken name cannot remove anything else.
void RemoveTree(const std::string& path, const std::string& root);

// Numbers N of the folders `prefix`N in `dir`, ascending: NumberedDirs(run, "checkpoint-") lists
// checkpoints. Names with anything but digits after the prefix (such as temporary ones) do not
// count.
std::vector<int64_t> NumberedDirs(const std::string& dir, const std::string& prefix);

// Exclusive use of a run folder by one process, held until destruction or the end of the process,
// however it ends.
class DirLock {
 public:
  // Takes the lock on `dir`/.lock. Throws when another process holds it, naming that process.
  explicit DirLock(const std::string& dir);
  ~DirLock();
  DirLock(DirLock&& other) noexcept;
  DirLock& operator=(DirLock&& other) noexcept;

 private:
  int fd_ = -1;
};

// Writes a folder of files that appears under its final name only when complete.
class DirPublisher {
 public:
  // Starts an empty `final_path`.tmp, removing what an interrupted run left there.
  explicit DirPublisher(std::string final_path);
  ~DirPublisher();  // removes the temporary folder if Publish was not reached
  DirPublisher(const DirPublisher&) = delete;
  DirPublisher& operator=(const DirPublisher&) = delete;

  // Writes and syncs one file; `name` has no folder part.
  void Write(const std::string& name, std::string_view bytes);
  // Syncs, renames to the final name, syncs the parent. An older folder of that name is replaced.
  void Publish();

 private:
  std::string final_path_;
  std::string temporary_path_;
  bool published_ = false;
};

}  // namespace ftt
