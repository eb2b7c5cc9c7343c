// The scalars of a run's events.jsonl as a TensorBoard event file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/tensorboard.h"

namespace ftt {

inline constexpr char kBoardFile[] = "events.out.tfevents.run";

// What TensorBoard shows of an event.
struct BoardEvent {
  int64_t step = 0;
  double seconds = 0;           // that the event's epoch took
  std::vector<Scalar> scalars;  // none where the line is not an event
};
// json_line: a line of events.jsonl. Numbers become scalars: "loss" and "fault_loss" loss/clean and
// loss/faulty, "accuracy" and "reward" likewise, others keep their names under "run/".
BoardEvent ReadBoardEvent(std::string_view json_line);

class EventBoard {
 public:
  // Replaces the file `path` by the events of `lines`, the content of events.jsonl. A log holds
  // durations, not times of day, so their times are as if they had just ended one after the other.
  EventBoard(std::string path, std::string_view lines);
  // Appends an event that happens now. Throws ftt::Error where it cannot be written.
  void Add(std::string_view json_line);

 private:
  std::string path_;
};

}  // namespace ftt
