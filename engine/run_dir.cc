#include "engine/run_dir.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>
#include <vector>

#include "core/error.h"

namespace ftt {
namespace {

constexpr char kConfig[] = "config.toml";
constexpr char kEvents[] = "events.jsonl";
constexpr char kCheckpoint[] = "checkpoint-";

// Options of a configuration, but for those that cannot change a result, in order.
std::vector<std::pair<std::string, std::string>> Options(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> options;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    const std::string key = line.substr(0, line.find(" ="));
    if (key != "threads" && key != "checkpoint-minutes") options.emplace_back(key, line);
  }
  return options;
}

// The line of `options` with that key.
std::string LineOf(const std::vector<std::pair<std::string, std::string>>& options,
                   const std::string& key) {
  for (const auto& [k, line] : options) {
    if (k == key) return line;
  }
  return "no " + key;
}

void CheckSameConfig(const std::string& path, const std::string& have, const std::string& want) {
  const auto before = Options(have), now = Options(want);
  for (const auto* options : {&now, &before}) {
    for (const auto& [key, line] : *options) {
      const std::string old_line = LineOf(before, key), new_line = LineOf(now, key);
      FTT_CHECK(old_line == new_line,
                "{}: cannot resume with a different configuration: the run has `{}`, the command "
                "line asks for `{}`; use the run's options, or another --out",
                path, old_line, new_line);
    }
  }
}

// Whether nothing lies there but what a run leaves that was killed before its configuration was
// written.
bool IsEmptyDir(const std::string& path) {
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    const std::string name = entry.path().filename();
    if (name != ".lock" && name != std::string(kConfig) + ".tmp") return false;
  }
  return true;
}

}  // namespace

RunDir::RunDir(std::string path, DirLock lock) : path_(std::move(path)), lock_(std::move(lock)) {}

RunDir RunDir::Create(const std::string& path, const std::string& config) {
  return Open(path, config, false);
}
RunDir RunDir::Resume(const std::string& path, const std::string& config) {
  return Open(path, config, true);
}

RunDir RunDir::Open(const std::string& path, const std::string& config, bool resume) {
  const std::string config_path = path + "/" + kConfig;
  if (PathExists(path)) {
    FTT_CHECK(IsDirectory(path), "{}: is a file; --out wants a folder", path);
    if (PathExists(config_path)) {
      FTT_CHECK(resume, "{}: holds another run; continue it with --resume, or choose another --out",
                path);
      CheckSameConfig(path, ReadFile(config_path), config);
    } else {
      FTT_CHECK(IsEmptyDir(path), "{}: is not empty and holds no run; choose another --out", path);
    }
  }
  EnsureWritableDir(path);
  RunDir run(path, DirLock(path));
  if (!PathExists(config_path)) AtomicWriteFile(config_path, config);
  run.events_ = std::make_unique<EventLog>(path + "/" + kEvents);
  return run;
}

void RunDir::WriteText(const std::string& name, const std::string& text) {
  AtomicWriteFile(path_ + "/" + name, text);
}

std::optional<int64_t> RunDir::LatestCheckpoint() const {
  const std::vector<int64_t> numbers = NumberedDirs(path_, kCheckpoint);
  if (numbers.empty()) return std::nullopt;
  return numbers.back();
}

std::string RunDir::CheckpointPath(int64_t number) const {
  return fmt::format("{}/{}{}", path_, kCheckpoint, number);
}

void RunDir::SaveCheckpoint(int64_t number, const std::map<std::string, std::string>& files) {
  events_->Sync();
  DirPublisher publisher(CheckpointPath(number));
  for (const auto& [name, bytes] : files) publisher.Write(name, bytes);
  publisher.Publish();
  for (const int64_t other : NumberedDirs(path_, kCheckpoint)) {
    if (other != number) RemoveTree(CheckpointPath(other), path_);
  }
}

void RunDir::WriteEvent(const std::string& json_line) {
  events_->Write(json_line);
  board_->Add(json_line);
}

void RunDir::RewindEvents(int64_t step) {
  const std::string text = ReadFile(path_ + "/" + kEvents);
  int64_t keep = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos) break;
    const auto event = nlohmann::json::parse(text.substr(at, end - at), nullptr, false);
    if (event.is_discarded() || event.value("step", int64_t{0}) > step) break;
    at = end + 1;
    keep = static_cast<int64_t>(at);
  }
  if (keep < static_cast<int64_t>(text.size())) events_->TruncateTo(keep);
  board_ = std::make_unique<EventBoard>(
      path_ + "/" + kBoardFile, std::string_view(text).substr(0, static_cast<size_t>(keep)));
}

}  // namespace ftt
