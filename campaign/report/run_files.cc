#include "campaign/report/run_files.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/toml_options.h"

namespace ftt {
namespace {

using Json = nlohmann::json;

// A JSON object and where it stands, for messages.
struct Located {
  const Json& json;
  std::string where;

  template <typename T>
  T Get(const char* key) const {
    try {
      return json.at(key).get<T>();
    } catch (const Json::exception&) {
      Fail("{}: '{}' is missing or of another type; was it written by this program?", where, key);
    }
  }
  // NaN for null: JSON has no other way to say it, and a training that diverged writes it.
  double Number(const char* key) const {
    const bool null = json.is_object() && json.contains(key) && json[key].is_null();
    return null ? std::nan("") : Get<double>(key);
  }
  std::string Text(const char* key) const { return Get<std::string>(key); }
  template <typename T>
  T Get(const char* key, T otherwise) const {
    return json.contains(key) ? Get<T>(key) : otherwise;
  }
  Located Inside(const char* key) const {
    FTT_CHECK(json.is_object() && json.contains(key) && json[key].is_object(),
              "{}: the object '{}' is missing; was it written by this program?", where, key);
    return {json[key], where};
  }
};

Json Parse(const std::string& text, const std::string& where) {
  Json json = Json::parse(text, nullptr, false);
  FTT_CHECK(!json.is_discarded() && json.is_object(), "{}: is not a JSON object", where);
  return json;
}

EpochRecord ParseEpoch(const Located& e, bool is_search) {
  EpochRecord r;
  r.epoch = e.Get<int>("epoch");
  r.loss = e.Number("loss");
  r.accuracy = e.Number("accuracy");
  r.fault_accuracy = e.Number("fault_accuracy");
  r.seconds = e.Number("seconds");
  if (is_search) {
    const Located reward = e.Inside("reward");
    r.proposals = e.Get<int>("proposals");
    r.reward = reward.Number("value");
    r.reward_clean = reward.Number("clean");
    r.reward_fault = reward.Number("fault");
    r.entropy = e.Number("entropy");
  } else {
    r.fault_loss = e.Number("fault_loss");
    r.delivered_rate = e.Number("delivered_rate");
    r.learning_rate = e.Number("lr");
  }
  return r;
}

std::vector<EpochRecord> ReadEpochs(const std::string& path, bool is_search) {
  const std::string text = ReadFile(path);
  std::vector<EpochRecord> epochs;
  int line = 1;
  for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1, ++line) {
    const std::string where = path + ":" + std::to_string(line);
    const Json json = Parse(text.substr(at, end - at), where);
    if (json.value("event", Json()) == "epoch")
      epochs.push_back(ParseEpoch({json, where}, is_search));
  }
  FTT_CHECK(!epochs.empty(), "{}: holds no finished epoch; report a run after its first one", path);
  return epochs;
}

CandidateRecord ParseCandidate(const Located& c) {
  const Located reward = c.Inside("reward");
  return {c.Text("genotype"), reward.Number("clean"), reward.Number("fault"),
          reward.Number("penalty"), reward.Number("value")};
}

SearchRecord ReadSearch(const std::string& path) {
  const Json json = Parse(ReadFile(path), path);
  const Located file{json, path};
  SearchRecord r;
  r.best = ParseCandidate(file.Inside("best"));
  r.random_best = ParseCandidate(file.Inside("random_best"));
  for (const Json& c : file.Get<std::vector<Json>>("derived", {}))
    r.derived.push_back(ParseCandidate({c, path}));
  r.reward_trace = file.Get<std::vector<double>>("reward_trace", {});
  r.reward_evaluations = file.Get<int64_t>("reward_evaluations");
  if (json.contains("mean_reward_drawn")) {
    r.mean_drawn = file.Number("mean_reward_drawn");
    r.mean_random = file.Number("mean_reward_random");
  }
  r.mflops = file.Number("mflops");
  r.parameters = file.Number("parameters");
  r.collapse_warning = file.Text("collapse_warning");
  return r;
}

TrainRecord ReadTrain(const std::string& path) {
  const Json json = Parse(ReadFile(path), path);
  const Located file{json, path};
  TrainRecord r;
  r.test_images = file.Get<int64_t>("test_images");
  r.clean_accuracy = file.Number("clean_accuracy");
  if (json.contains("train_mode_accuracy"))
    r.train_mode_accuracy = file.Number("train_mode_accuracy");
  r.faults = file.Text("faults");
  r.trials = file.Get<std::vector<double>>("trials", {});
  return r;
}

// "search", "train", or "" where the configuration is of something else.
std::string KindOf(const std::vector<TomlOption>& options) {
  for (const TomlOption& o : options) {
    if (o.table == "search" || o.table == "train") return o.table;
  }
  return "";
}

}  // namespace

std::string RunRecord::Option(const std::string& name) const {
  const auto it = options.find(name);
  return it == options.end() ? "" : it->second;
}

bool HoldsRun(const std::string& path) {
  const std::string config = path + "/config.toml";
  return PathExists(config) && !KindOf(ReadTomlOptions(config)).empty();
}

RunRecord ReadRun(const std::string& path) {
  RunRecord run;
  run.path = path;
  run.config = ReadFile(path + "/config.toml");
  const std::vector<TomlOption> options = ParseTomlOptions(run.config, path + "/config.toml");
  const std::string kind = KindOf(options);
  FTT_CHECK(!kind.empty(), "{}/config.toml: has neither a [search] nor a [train] table", path);
  run.is_search = kind == "search";
  for (const TomlOption& o : options) {
    if (o.table != kind) continue;
    std::string& value = run.options[o.key];
    for (size_t i = 0; i < o.values.size(); ++i) value += (i == 0 ? "" : ", ") + o.values[i];
  }
  run.epochs = ReadEpochs(path + "/events.jsonl", run.is_search);
  const std::string result = path + (run.is_search ? "/report.json" : "/result.json");
  if (!PathExists(result)) return run;
  if (run.is_search) {
    run.search = ReadSearch(result);
  } else {
    run.train = ReadTrain(result);
  }
  return run;
}

}  // namespace ftt
