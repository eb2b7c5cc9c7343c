#include "faults/replay.h"

#include <algorithm>
#include <cstdlib>
#include <tuple>

#include "faults/fault_list.h"
#include "faults/model_list.h"

namespace ftt {
namespace {

// The rows of one code and one term that strike together.
struct Group {
  size_t end = 0;
  FaultHit hit;
};

Group TakeGroup(const std::vector<FaultRow>& rows, size_t begin, size_t end) {
  Group group{begin, {}};
  const FaultRow& first = rows[begin];
  for (; group.end < end; ++group.end) {
    const FaultRow& row = rows[group.end];
    const uint32_t cell = 1u << row.cell;
    if (row.element != first.element || row.term != first.term || row.model != first.model) break;
    if ((group.hit.cells & cell) != 0) break;
    group.hit.cells |= cell;
    if (row.value != 0) group.hit.ones |= cell;
  }
  return group;
}

void Count(const FaultRow& row, const FaultModelInfo& info, TermCounts& counts) {
  ++counts.delivered;
  if (info.style != FaultStyle::kEvery) ++counts.bit[row.cell & 7];
  ++(row.value != 0 ? counts.positive : counts.negative);
}

}  // namespace

void Replay(const SiteFaults& faults, FaultMoment moment, uint32_t image, int8_t* codes,
            int64_t elements, uint8_t* pass_mask, uint8_t* moved_mask, FaultCounts* counts,
            FaultRecorder* recorder) {
  const std::vector<FaultRow>& rows = *faults.replay;
  const auto key = [](const FaultRow& r) { return std::tuple(r.trial, r.image); };
  const std::tuple wanted(moment.trial, image);
  const auto low = std::partition_point(rows.begin(), rows.end(),
                                        [&](const FaultRow& r) { return key(r) < wanted; });
  const auto high =
      std::partition_point(low, rows.end(), [&](const FaultRow& r) { return key(r) == wanted; });
  const auto end = static_cast<size_t>(high - rows.begin());
  std::vector<FaultRow> record;
  TermCounts local[kMaxFaultTerms];
  for (auto i = static_cast<size_t>(low - rows.begin()); i < end;) {
    const Group group = TakeGroup(rows, i, end);
    const FaultRow& row = rows[i];
    const FaultModelInfo& info = FaultModels()[row.model];
    FaultStep step;
    step.model = row.model;
    step.bits = static_cast<uint8_t>(faults.bits);
    const int before = codes[row.element];
    const FaultEffect effect = info.style == FaultStyle::kCells
                                   ? ApplyFault(step, before, group.hit)
                                   : FaultEffect{row.new_code, false};
    int code = before;
    FaultHit partial;
    for (size_t r = i; r < group.end; ++r) {
      Count(rows[r], info, local[row.term]);
      if (recorder == nullptr) continue;
      partial.cells |= 1u << rows[r].cell;
      partial.ones |= group.hit.ones & (1u << rows[r].cell);
      record.push_back(rows[r]);
      record.back().old_code = static_cast<int8_t>(code);
      code =
          info.style == FaultStyle::kCells ? ApplyFault(step, before, partial).code : row.new_code;
      record.back().new_code = static_cast<int8_t>(code);
    }
    codes[row.element] = static_cast<int8_t>(effect.code);
    if (pass_mask != nullptr && effect.saturated) {
      pass_mask[row.element >> 3] &= static_cast<uint8_t>(~(1u << (row.element & 7)));
    }
    if (moved_mask != nullptr && std::abs(effect.code - before) > info.mask_above)
      moved_mask[row.element] = 1;
    i = group.end;
  }
  for (int term = 0; counts != nullptr && term < kMaxFaultTerms; ++term) {
    if (local[term].delivered == 0) continue;
    local[term].exposed = static_cast<uint64_t>(elements);
    counts->Add(term, local[term]);
  }
  if (recorder != nullptr && !record.empty()) recorder->Append(record);
}

}  // namespace ftt
