#include "faults/spec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string_view>

#include "core/error.h"
#include "faults/model_list.h"

namespace ftt {
namespace {

constexpr std::array<std::string_view, 3> kLifetimes = {"transient", "intermittent", "permanent"};
constexpr std::array<std::string_view, 3> kSamplers = {"auto", "dense", "sparse"};
constexpr std::array<std::string_view, 3> kModes = {"zero", "max", "bit"};

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    // The plus sign of an exponent does not join terms.
    const bool exponent =
        separator == '+' && i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '9';
    if (i < text.size() && (text[i] != separator || exponent)) continue;
    parts.push_back(text.substr(begin, i - begin));
    begin = i + 1;
  }
  return parts;
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

uint8_t FindModel(std::string_view name) {
  const std::vector<FaultModelInfo>& models = FaultModels();
  std::string known;
  size_t nearest = 0, distance = std::numeric_limits<size_t>::max();
  for (size_t i = 0; i < models.size(); ++i) {
    if (models[i].name == name) return static_cast<uint8_t>(i);
    const size_t d = EditDistance(name, models[i].name);
    if (d < distance) nearest = i, distance = d;
    known += (i == 0 ? "" : ", ") + std::string(models[i].name);
  }
  const std::string hint =
      distance <= 3 ? fmt::format("; did you mean '{}'?", models[nearest].name) : "";
  Fail("unknown fault model '{}'{} Known models: {}", name, hint.empty() ? "." : hint, known);
}

template <typename T>
T ParseNumber(std::string_view term, std::string_view what, std::string_view text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  FTT_CHECK(error == std::errc() && rest == end && value == value,
            "fault '{}': {} '{}' is not a {}number", term, what, text,
            std::is_integral_v<T> ? "whole " : "");
  return value;
}

int ParseInt(std::string_view term, std::string_view key, std::string_view text, int low,
             int high) {
  const int value = ParseNumber<int>(term, key, text);
  FTT_CHECK(value >= low && value <= high, "fault '{}': {}={} is outside [{}, {}]", term, key,
            value, low, high);
  return value;
}

double ParseShare(std::string_view term, std::string_view what, std::string_view text) {
  const auto value = ParseNumber<double>(term, what, text);
  FTT_CHECK(value >= 0 && value <= 1, "fault '{}': {} {} is outside [0, 1]", term, what, text);
  return value == 0 ? 0 : value;  // no negative zero
}

template <typename Enum>
Enum ParseChoice(std::string_view term, std::string_view key, std::string_view text,
                 const std::array<std::string_view, 3>& names) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == text) return static_cast<Enum>(i);
  }
  Fail("fault '{}': {}={}; possible are {}, {} and {}", term, key, text, names[0], names[1],
       names[2]);
}

void ParseSites(std::string_view term, std::string_view text, FaultTerm& out) {
  FTT_CHECK(text == "conv" || text == "conv,linear",
            "fault '{}': sites={}; possible are conv and conv,linear", term, text);
  out.linear = text == "conv,linear";
}

// Keys that the model takes, for messages.
std::string KnownKeys(const FaultModelInfo& info) {
  std::string keys = "lifetime, sampler, window";
  if ((info.keys & kKeySites) != 0) keys += ", sites";
  if ((info.keys & kKeySaf1) != 0) keys += ", saf1";
  if ((info.keys & kKeyBit) != 0) keys += ", bit";
  if ((info.keys & kKeyValue) != 0) keys += ", value";
  if ((info.keys & kKeyColumn) != 0) keys += ", rows, cols, mode";
  return keys;
}

void ParseKey(std::string_view term, std::string_view key, std::string_view value, FaultTerm& out) {
  const FaultModelInfo& info = FaultModels()[out.model];
  const auto takes = [&](std::string_view name, uint32_t flag) {
    return key == name && (info.keys & flag) != 0;
  };
  if (key == "lifetime") {
    out.lifetime = ParseChoice<Lifetime>(term, key, value, kLifetimes);
  } else if (key == "sampler") {
    out.sampler = ParseChoice<SamplerChoice>(term, key, value, kSamplers);
  } else if (key == "window") {
    out.window =
        static_cast<uint32_t>(ParseInt(term, key, value, 1, std::numeric_limits<int>::max()));
  } else if (takes("sites", kKeySites)) {
    ParseSites(term, value, out);
  } else if (takes("saf1", kKeySaf1)) {
    out.saf1 = ParseShare(term, key, value);
  } else if (takes("bit", kKeyBit)) {
    out.bit = ParseInt(term, key, value, 0, 7);
  } else if (takes("value", kKeyValue)) {
    out.value = ParseInt(term, key, value, 0, 1);
  } else if (takes("rows", kKeyColumn)) {
    out.rows = ParseInt(term, key, value, 1, 4096);
  } else if (takes("cols", kKeyColumn)) {
    out.cols = ParseInt(term, key, value, 1, 4096);
  } else if (takes("mode", kKeyColumn)) {
    out.column_mode = ParseChoice<ColumnMode>(term, key, value, kModes);
  } else {
    Fail("fault '{}': model {} has no key '{}'; its keys are {}", term, info.name, key,
         KnownKeys(info));
  }
}

// A value may itself be a list: a part without '=' continues the value before it.
void ParseKeys(std::string_view term, std::string_view keys, FaultTerm& out) {
  const std::vector<std::string_view> parts = Split(keys, ',');
  std::vector<std::string_view> seen;
  for (size_t i = 0; i < parts.size();) {
    const size_t equals = parts[i].find('=');
    FTT_CHECK(equals != std::string_view::npos && equals > 0, "fault '{}': '{}' is not key=value",
              term, parts[i]);
    size_t next = i + 1;
    while (next < parts.size() && !parts[next].empty() &&
           parts[next].find('=') == std::string_view::npos)
      ++next;
    const std::string_view key = parts[i].substr(0, equals);
    const char* begin = parts[i].data() + equals + 1;
    const char* end = parts[next - 1].data() + parts[next - 1].size();
    FTT_CHECK(std::find(seen.begin(), seen.end(), key) == seen.end(),
              "fault '{}': key '{}' is given twice", term, key);
    seen.push_back(key);
    ParseKey(term, key, std::string_view(begin, static_cast<size_t>(end - begin)), out);
    i = next;
  }
}

void CheckKeys(std::string_view term, const FaultTerm& t) {
  const FaultModelInfo& info = FaultModels()[t.model];
  if (info.style == FaultStyle::kColumns) {
    const bool bit_mode = t.column_mode == ColumnMode::kBit;
    FTT_CHECK(bit_mode == (t.bit >= 0), "fault '{}': mode=bit and bit=K belong together", term);
    FTT_CHECK(bit_mode || t.value < 0, "fault '{}': value= needs mode=bit", term);
  }
  FTT_CHECK(info.style == FaultStyle::kCells || t.sampler == SamplerChoice::kAuto,
            "fault '{}': model {} has no choice of sampler; leave sampler= out", term, info.name);
  // What no site could resolve is refused here, before any site is known; the planner checks each
  // site's own.
  const double finest = info.style == FaultStyle::kEvery     ? 0x1p-41
                        : t.sampler == SamplerChoice::kDense ? 0x1p-33
                                                             : 0x1p-46;
  FTT_CHECK(
      t.rate == 0 || info.per_mac || t.rate >= finest,
      "fault '{}': the rate is below the resolution ({:.3g}); raise it, or use 0 for no faults",
      term, finest);
  FTT_CHECK(t.rate == 0 || t.rate >= 0x1p-60,
            "fault '{}': the rate is below the resolution; raise it, or use 0 for no faults", term);
}

FaultTerm ParseTerm(std::string_view text) {
  FTT_CHECK(
      !text.empty(),
      "a fault specification has an empty term; write NAME:RATE[,key=value...] joined by '+'");
  const size_t colon = text.find(':');
  FaultTerm term;
  term.model = FindModel(text.substr(0, colon));
  const FaultModelInfo& info = FaultModels()[term.model];
  FTT_CHECK(colon != std::string_view::npos, "fault '{}': no rate; write {}:RATE ({})", text,
            info.name, info.rate_help);
  term.lifetime = info.lifetime;
  const size_t comma = text.find(',', colon);
  const std::string_view rate =
      text.substr(colon + 1, comma == std::string_view::npos ? comma : comma - colon - 1);
  term.rate = ParseShare(text, "rate", rate);
  if (comma != std::string_view::npos) ParseKeys(text, text.substr(comma + 1), term);
  CheckKeys(text, term);
  return term;
}

std::string Shortest(double value) {
  std::array<char, 32> buffer;
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), result.ptr};
}

template <typename Enum>
std::string_view Name(const std::array<std::string_view, 3>& names, Enum value) {
  return names[static_cast<size_t>(value)];
}

}  // namespace

std::string FaultTerm::Text() const {
  const FaultModelInfo& info = FaultModels()[model];
  const FaultTerm defaults;
  std::string text = fmt::format("{}:{}", info.name, Shortest(rate));
  const auto add = [&](std::string_view key, const auto& v) {
    text += fmt::format(",{}={}", key, v);
  };
  if (lifetime != info.lifetime) add("lifetime", Name(kLifetimes, lifetime));
  if (sampler != defaults.sampler) add("sampler", Name(kSamplers, sampler));
  if (window != defaults.window) add("window", window);
  if (linear) add("sites", "conv,linear");
  if (saf1 != defaults.saf1) add("saf1", Shortest(saf1));
  if (rows != defaults.rows) add("rows", rows);
  if (cols != defaults.cols) add("cols", cols);
  if (column_mode != defaults.column_mode) add("mode", Name(kModes, column_mode));
  if (bit >= 0) add("bit", bit);
  if (value >= 0) add("value", value);
  return text;
}

std::string FaultSpec::Text() const {
  std::string text;
  for (const FaultTerm& term : terms) text += (text.empty() ? "" : "+") + term.Text();
  return text.empty() ? "none" : text;
}

FaultSpec ParseFaultSpec(const std::string& text) {
  FaultSpec spec;
  if (text.empty() || text == "none") return spec;
  for (const std::string_view term : Split(text, '+')) spec.terms.push_back(ParseTerm(term));
  FTT_CHECK(spec.terms.size() <= kMaxFaultTerms,
            "fault specification '{}' has {} terms; at most {} are possible", text,
            spec.terms.size(), kMaxFaultTerms);
  return spec;
}

bool StrikesWeights(const FaultSpec& spec) {
  return std::any_of(spec.terms.begin(), spec.terms.end(), [](const FaultTerm& t) {
    return (FaultModels()[t.model].sites & kWeightSites) != 0;
  });
}

std::string FaultHelpText() {
  std::string text =
      "Faults: NAME:RATE[,key=value...], several joined by '+'; none for no faults. RATE is in [0, "
      "1].\n\n";
  for (const FaultModelInfo& info : FaultModels()) {
    text += fmt::format("  {:<14} {} ({}, {})\n", info.name, info.help, info.rate_help,
                        Name(kLifetimes, info.lifetime));
    const std::string keys = KnownKeys(info);
    if (info.keys != 0)
      text += fmt::format("  {:<14} keys: {}\n", "", keys.substr(keys.find("window, ") + 8));
  }
  text +=
      "\nKeys of every model:\n"
      "  lifetime=transient|intermittent|permanent\n"
      "                 transient: new faults for every image; intermittent: one set per `window` "
      "images (training: per\n"
      "                 step); permanent: one set per trial. Weights are hit once per trial "
      "(training: per step).\n"
      "  sampler=auto|dense|sparse\n"
      "                 auto: sparse where less than 25 % of the codes are hit. The set of faults "
      "depends on it.\n"
      "  window=64      images that share intermittent faults\n"
      "Keys of some models:\n"
      "  sites=conv|conv,linear   mibb: also the classifier's outputs\n"
      "  saf1=0.163               share of stuck cells that are stuck at one\n"
      "  bit=K, value=0|1         only this bit; stuck at this value only\n"
      "  rows=16, cols=16, mode=zero|max|bit   the systolic array and what a column with a stuck "
      "element gives\n"
      "\nExamples: mibb:1e-4   ibf-feature:1e-5+adsaf:0.01   stuck-feature:1e-4,bit=7   "
      "adsaf:0.08,lifetime=transient\n";
  return text;
}

}  // namespace ftt
