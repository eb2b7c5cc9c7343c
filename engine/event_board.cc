#include "engine/event_board.h"

#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"

namespace ftt {
namespace {

// Seconds since 1970.
double WallSeconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string TagOf(const std::string& name) {
  static const std::map<std::string, std::string> kTags = {{"loss", "loss/clean"},
                                                           {"fault_loss", "loss/faulty"},
                                                           {"accuracy", "accuracy/clean"},
                                                           {"fault_accuracy", "accuracy/faulty"},
                                                           {"reward.clean", "reward/clean"},
                                                           {"reward.fault", "reward/faulty"},
                                                           {"reward.penalty", "reward/penalty"},
                                                           {"reward.value", "reward/value"},
                                                           {"entropy", "controller/entropy"},
                                                           {"proposals", "controller/proposals"},
                                                           {"lr", "run/learning_rate"},
                                                           {"seconds", "run/epoch_seconds"}};
  const auto found = kTags.find(name);
  return found == kTags.end() ? "run/" + name : found->second;
}

void AppendScalars(const nlohmann::ordered_json& object, const std::string& prefix,
                   std::vector<Scalar>& out) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) AppendScalars(value, prefix + key + ".", out);
    if (value.is_number() && key != "step")
      out.push_back({TagOf(prefix + key), value.get<double>()});
  }
}

}  // namespace

BoardEvent ReadBoardEvent(std::string_view json_line) {
  const auto json = nlohmann::ordered_json::parse(json_line, nullptr, false);
  if (!json.is_object()) return {};
  BoardEvent event{json.value("step", int64_t{0}), json.value("seconds", 0.0), {}};
  AppendScalars(json, "", event.scalars);
  return event;
}

EventBoard::EventBoard(std::string path, std::string_view lines) : path_(std::move(path)) {
  std::vector<BoardEvent> events;
  double seconds = 0;
  for (size_t at = 0; at < lines.size();) {
    const size_t end = std::min(lines.find('\n', at), lines.size());
    events.push_back(ReadBoardEvent(lines.substr(at, end - at)));
    seconds += events.back().seconds;
    at = end + 1;
  }
  double time = WallSeconds() - seconds;
  std::string bytes = EventFileHeader(time);
  for (const BoardEvent& event : events) {
    time += event.seconds;
    if (!event.scalars.empty()) bytes += ScalarEvent(time, event.step, event.scalars);
  }
  AtomicWriteFile(path_, bytes);
}

void EventBoard::Add(std::string_view json_line) {
  const BoardEvent event = ReadBoardEvent(json_line);
  if (event.scalars.empty()) return;
  std::ofstream file(path_, std::ios::binary | std::ios::app);
  file << ScalarEvent(WallSeconds(), event.step, event.scalars) << std::flush;
  FTT_CHECK(file.good(), "cannot write {}; is the disk full?", path_);
}

}  // namespace ftt
