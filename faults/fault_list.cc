#include "faults/fault_list.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <string_view>
#include <tuple>

#include "core/error.h"
#include "core/file.h"
#include "faults/models.h"

namespace ftt {
namespace {

constexpr std::string_view kHeader = "trial,site,image,element,term,kind,bit,value,old,new";
constexpr size_t kColumns = 10;

auto Key(const FaultRow& r) {
  return std::tie(r.trial, r.site, r.image, r.element, r.term, r.cell);
}

struct Place {
  const std::string& path;
  int64_t line;
};

template <typename T>
T Field(const Place& at, std::string_view name, std::string_view text, int64_t low, int64_t high) {
  int64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  FTT_CHECK(
      error == std::errc() && rest == text.data() + text.size() && value >= low && value <= high,
      "{}:{}: {} '{}' is not a whole number in [{}, {}]", at.path, at.line, name, text, low, high);
  return static_cast<T>(value);
}

uint8_t ModelField(const Place& at, std::string_view text) {
  const std::vector<FaultModelInfo>& models = FaultModels();
  for (size_t i = 0; i < models.size(); ++i) {
    if (models[i].name == text) return static_cast<uint8_t>(i);
  }
  Fail("{}:{}: '{}' is not a fault model", at.path, at.line, text);
}

FaultRow ParseRow(const Place& at, std::string_view line) {
  std::array<std::string_view, kColumns> f;
  size_t count = 0, begin = 0;
  for (size_t i = 0; i <= line.size(); ++i) {
    if (i < line.size() && line[i] != ',') continue;
    if (count < kColumns) f[count] = line.substr(begin, i - begin);
    ++count;
    begin = i + 1;
  }
  FTT_CHECK(count == kColumns, "{}:{}: {} columns instead of {}", at.path, at.line, count,
            kColumns);
  constexpr int64_t kWord = 0xFFFFFFFF;
  FaultRow row;
  row.trial = Field<uint32_t>(at, "trial", f[0], 0, kWord);
  row.site = Field<uint16_t>(at, "site", f[1], 0, kArraySite - 1);
  row.image = Field<uint32_t>(at, "image", f[2], 0, kWord);
  row.element = Field<uint32_t>(at, "element", f[3], 0, kMaxSiteElements - 1);
  row.term = Field<uint8_t>(at, "term", f[4], 0, kMaxFaultTerms - 1);
  row.model = ModelField(at, f[5]);
  const FaultModelInfo& info = FaultModels()[row.model];
  row.cell = Field<uint8_t>(at, "bit", f[6], 0,
                            info.style == FaultStyle::kColumns ? 7 : (1 << info.cells_log2) - 1);
  row.value = Field<uint8_t>(at, "value", f[7], 0, 1);
  row.old_code = Field<int8_t>(at, "old", f[8], -128, 127);
  row.new_code = Field<int8_t>(at, "new", f[9], -128, 127);
  return row;
}

}  // namespace

bool operator<(const FaultRow& a, const FaultRow& b) { return Key(a) < Key(b); }

void FaultRecorder::Append(const std::vector<FaultRow>& rows) {
  const std::lock_guard<std::mutex> lock(mutex_);
  FTT_CHECK(rows_.size() + rows.size() <= max_rows_,
            "the fault list grew beyond {} rows; lower the rate, or use fewer images or trials",
            max_rows_);
  rows_.insert(rows_.end(), rows.begin(), rows.end());
}

size_t FaultRecorder::Size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return rows_.size();
}

std::vector<FaultRow> FaultRecorder::TakeSorted() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<FaultRow> rows;
  rows.swap(rows_);
  std::sort(rows.begin(), rows.end());
  return rows;
}

void WriteFaultList(const std::string& path, const std::vector<FaultRow>& rows) {
  std::string text(kHeader);
  text += '\n';
  for (const FaultRow& r : rows) {
    fmt::format_to(std::back_inserter(text), "{},{},{},{},{},{},{},{},{},{}\n", r.trial, r.site,
                   r.image, r.element, r.term, FaultModels()[r.model].name, r.cell, r.value,
                   r.old_code, r.new_code);
  }
  AtomicWriteFile(path, text);
}

std::vector<FaultRow> ReadFaultList(const std::string& path) {
  const std::string text = ReadFile(path);
  std::vector<FaultRow> rows;
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (++number > 1) {
      rows.push_back(ParseRow({path, number}, line));
    } else {
      FTT_CHECK(line == kHeader, "{}:1: not a fault list; its first line must be {}", path,
                kHeader);
    }
    begin = end + 1;
  }
  FTT_CHECK(number > 0, "{}:1: not a fault list; its first line must be {}", path, kHeader);
  std::stable_sort(rows.begin(), rows.end());
  return rows;
}

ReplayPlan::ReplayPlan(std::vector<FaultRow> rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const FaultRow& a, const FaultRow& b) {
    return a.site != b.site ? a.site < b.site : a < b;
  });
  for (size_t begin = 0; begin < rows.size();) {
    size_t end = begin;
    while (end < rows.size() && rows[end].site == rows[begin].site) ++end;
    const auto at = rows.begin();
    sites_.emplace_back(rows[begin].site,
                        std::make_shared<const std::vector<FaultRow>>(
                            at + static_cast<int64_t>(begin), at + static_cast<int64_t>(end)));
    begin = end;
  }
}

SiteFaults ReplayPlan::Site(const FaultSite& site, int bits) const {
  SiteFaults out;
  out.site = site.id;
  out.bits = bits;
  const auto found =
      std::find_if(sites_.begin(), sites_.end(), [&](const auto& s) { return s.first == site.id; });
  if (found == sites_.end()) return out;
  const int high = (1 << (bits - 1)) - 1;
  for (const FaultRow& row : *found->second) {
    FTT_CHECK(row.element < site.elements,
              "fault list: element {} at site {} ({}), which has {} elements; the list is of "
              "another network",
              row.element, site.id, site.name, site.elements);
    const FaultModelInfo& info = FaultModels()[row.model];
    const bool exists = info.style == FaultStyle::kCells
                            ? (info.valid_cells(bits) >> row.cell & 1) != 0
                            : row.cell < bits;
    FTT_CHECK(exists && row.new_code <= high && row.new_code >= -high - 1,
              "fault list: element {} at site {} ({}) has bit {} and new code {}, which codes of "
              "{} bits do not have",
              row.element, site.id, site.name, row.cell, row.new_code, bits);
  }
  out.replay = found->second;
  return out;
}

std::vector<int> ReplayPlan::Sites() const {
  std::vector<int> ids;
  for (const auto& site : sites_) ids.push_back(site.first);
  return ids;
}

}  // namespace ftt
