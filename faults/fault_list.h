// Fault lists: every fault of a run, exported as CSV and replayed.
//
// CSV columns: trial (or step), site (id), image (index in the data set; 0 for weights), element
// (place in the image's codes or in the weight tensor), term (ordinal in the specification), kind
// (model), bit (bit; adsaf: 0 positive, 1 negative array; adsaf-bit: bit, plus 8 in the negative
// array; lane-stuck: the stuck bit or 0; gauss-weight: 0), value (1: + bias, stuck at one; 0: -
// bias, stuck at zero; flips: 1), old, new (codes). Several faults of one code are rows in the
// order of their bits, each starting from the code that the one before it left.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "faults/plan.h"

namespace ftt {

struct FaultRow {
  uint32_t trial = 0, image = 0, element = 0;
  uint16_t site = 0;
  uint8_t model = 0;  // FaultModelId
  uint8_t term = 0;
  uint8_t cell = 0;  // column "bit"
  uint8_t value = 0;
  int8_t old_code = 0, new_code = 0;

  friend bool operator==(const FaultRow&, const FaultRow&) = default;
};

// Order of rows in a list: trial, site, image, element, term, cell.
bool operator<(const FaultRow& a, const FaultRow& b);

// Collects rows from any number of threads.
class FaultRecorder {
 public:
  explicit FaultRecorder(size_t max_rows = size_t{20} * 1000 * 1000) : max_rows_(max_rows) {}

  // Throws ftt::Error when the list grows beyond max_rows.
  void Append(const std::vector<FaultRow>& rows);
  size_t Size() const;
  // The rows so far in the order of a list, whatever the order in which threads appended them; the
  // recorder is empty afterwards.
  std::vector<FaultRow> TakeSorted();

 private:
  mutable std::mutex mutex_;
  std::vector<FaultRow> rows_;
  size_t max_rows_;
};

// Replaces `path` atomically. Throws ftt::Error where that fails.
void WriteFaultList(const std::string& path, const std::vector<FaultRow>& rows);
// Rows in the order of a list. Throws ftt::Error with file and line on anything that is not a
// fault.
std::vector<FaultRow> ReadFaultList(const std::string& path);

// A list split by site, applied in place of sampled faults: each row's effect (bias, flip, stuck
// cell; for lane-stuck and gauss-weight the new code) strikes the code found at its address.
class ReplayPlan {
 public:
  explicit ReplayPlan(std::vector<FaultRow> rows);

  // Throws ftt::Error where a row points outside the site. bits: of a code, 4..8.
  SiteFaults Site(const FaultSite& site, int bits) const;
  // Site ids that have rows.
  std::vector<int> Sites() const;

 private:
  std::vector<std::pair<int, std::shared_ptr<const std::vector<FaultRow>>>> sites_;
};

}  // namespace ftt
