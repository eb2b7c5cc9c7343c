// The folder of one run: configuration, event log, checkpoints, results. A killed run continues
// from its last checkpoint.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/events.h"
#include "core/file.h"
#include "engine/event_board.h"

namespace ftt {

class RunDir {
 public:
  // A new run. config: resolved options as TOML, one `key = value` a line. Throws ftt::Error, and
  // changes nothing, when the folder cannot be written, is in use, or holds another run or foreign
  // files.
  static RunDir Create(const std::string& path, const std::string& config);
  // Continues the run in `path`; one that is not there yet is created. Throws ftt::Error when its
  // configuration differs, naming the first option that does.
  static RunDir Resume(const std::string& path, const std::string& config);

  const std::string& Path() const { return path_; }
  // Appends a line to events.jsonl and its numbers to the TensorBoard file.
  void WriteEvent(const std::string& json_line);
  void WriteText(const std::string& name, const std::string& text);

  // Number of the latest complete checkpoint.
  std::optional<int64_t> LatestCheckpoint() const;
  std::string CheckpointPath(int64_t number) const;
  // Publishes checkpoint-NUMBER with these files, then removes older ones.
  void SaveCheckpoint(int64_t number, const std::map<std::string, std::string>& files);
  // Cuts the event log after the last event whose "step" is at most `step`, and writes the
  // TensorBoard file anew from what is left. Call it once before the first event.
  void RewindEvents(int64_t step);

 private:
  RunDir(std::string path, DirLock lock);
  static RunDir Open(const std::string& path, const std::string& config, bool resume);

  std::string path_;
  DirLock lock_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<EventBoard> board_;
};

}  // namespace ftt
