// The oracle of inject.cc: one Philox block at a time, no tables of arrivals but a plain search, no
// bit masks per tile but a map from element to its hits. Shares with it only the address
// (faults/address.h) and the models.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "faults/fault_list.h"
#include "faults/inject.h"
#include "faults/model_list.h"
#include "faults/replay.h"

namespace ftt {
namespace {

struct CellHit {
  int cell;
  bool one;
};
// Hits of each element, in the order in which they were found.
using HitMap = std::map<int64_t, std::vector<CellHit>>;

struct Address {
  const FaultStep& step;
  uint32_t word1, word2;
  uint32_t Draw(int64_t word0, int word) const {
    const PhiloxCounter counter{{static_cast<uint32_t>(word0), word1, word2, step.word3}};
    return Philox(counter, step.key0, step.key1).v[word];
  }
};

bool Valid(const FaultStep& step, int cell) { return (step.valid_cells & (1 << cell)) != 0; }

void AddHit(const FaultStep& step, HitMap& hits, int64_t element, CellHit hit) {
  if (!Valid(step, hit.cell)) return;
  std::vector<CellHit>& list = hits[element];
  for (const CellHit& earlier : list) {
    if (step.one_fault || earlier.cell == hit.cell) return;
  }
  list.push_back(hit);
}

HitMap SparseHits(const Address& at, int64_t elements) {
  const FaultStep& step = at.step;
  HitMap hits;
  for (int64_t tile = 0; tile * 1024 < elements; ++tile) {
    const uint32_t draw = at.Draw(tile * 4096, 0);
    uint32_t arrivals = step.count_first;
    for (uint32_t i = 0; i < step.count_size; ++i)
      arrivals += draw >= step.count_thresholds[i] ? 1 : 0;
    for (uint32_t a = 0; a < arrivals; ++a) {
      const uint32_t slot = a + 1;  // word 0 of block 0 is taken
      const uint32_t payload = at.Draw(tile * 4096 + slot / 4, static_cast<int>(slot % 4));
      const int64_t element = tile * 1024 + payload / (1u << 22);
      if (element >= elements) continue;
      const uint32_t type = payload % (1u << 22) / 16;
      const int cell = step.first_cell + static_cast<int>(payload % (1u << step.cells_log2));
      AddHit(step, hits, element, {cell, type < step.one_threshold});
    }
  }
  return hits;
}

HitMap DenseHits(const Address& at, int64_t elements) {
  const FaultStep& step = at.step;
  HitMap hits;
  const int cells = step.one_fault ? 1 : 1 << step.cells_log2;
  for (int64_t unit = 0; unit < elements * cells; ++unit) {
    const int64_t element = unit / cells;
    const int cell = step.first_cell + static_cast<int>(unit % cells);
    if (step.dense_pairs) {
      const uint32_t draw = at.Draw(unit / 2, static_cast<int>(unit % 2) * 2);
      const uint32_t type = at.Draw(unit / 2, static_cast<int>(unit % 2) * 2 + 1) >> 14;
      if (draw <= step.dense_last) AddHit(step, hits, element, {cell, type < step.one_threshold});
      continue;
    }
    const uint32_t draw = at.Draw(unit / 4, static_cast<int>(unit % 4));
    if (draw > step.dense_last) continue;
    if (!step.one_fault) {
      AddHit(step, hits, element, {cell, true});
      continue;
    }
    const auto choice = static_cast<int>(draw % step.dense_modulus);
    const bool lower_half = choice < step.valid_count;
    const bool one = step.one_threshold == 1u << 17 ? lower_half : step.one_threshold != 0;
    AddHit(step, hits, element, {step.first_cell + choice % step.valid_count, one});
  }
  return hits;
}

struct RefTarget {
  int8_t* codes;
  int64_t elements;
  int channels;
  uint8_t* pass_mask;
  uint8_t* moved_mask;
  FaultRow stamp;
  std::vector<FaultRow> rows;

  void Store(int64_t element, int cell, bool one, const FaultEffect& effect) {
    FaultRow row = stamp;
    row.element = static_cast<uint32_t>(element);
    row.cell = static_cast<uint8_t>(cell);
    row.value = one ? 1 : 0;
    row.old_code = codes[element];
    row.new_code = static_cast<int8_t>(effect.code);
    rows.push_back(row);
    codes[element] = row.new_code;
  }
};

void RefCells(const Address& at, RefTarget& t, TermCounts& counts) {
  const FaultStep& step = at.step;
  HitMap hits =
      step.sampler == Sampler::kSparse ? SparseHits(at, t.elements) : DenseHits(at, t.elements);
  counts.exposed += static_cast<uint64_t>(t.elements) * (step.one_fault ? 1u : step.valid_count);
  for (auto& [element, list] : hits) {
    std::sort(list.begin(), list.end(),
              [](const CellHit& a, const CellHit& b) { return a.cell < b.cell; });
    const int original = t.codes[element];
    FaultHit so_far;
    FaultEffect effect{original, false};
    for (const CellHit& hit : list) {
      so_far.cells |= 1u << hit.cell;
      so_far.ones |= (hit.one ? 1u : 0u) << hit.cell;
      effect = ApplyFault(step, original, so_far);
      t.Store(element, hit.cell, hit.one, effect);
      counts.delivered += 1;
      counts.bit[hit.cell % 8] += 1;
      counts.positive += hit.one ? 1 : 0;
      counts.negative += hit.one ? 0 : 1;
    }
    if (t.pass_mask != nullptr && effect.saturated) {
      t.pass_mask[element / 8] =
          static_cast<uint8_t>(t.pass_mask[element / 8] & ~(1 << element % 8));
    }
    if (t.moved_mask != nullptr && std::abs(effect.code - original) > step.mask_above)
      t.moved_mask[element] = 1;
  }
}

void RefEvery(const Address& at, RefTarget& t, TermCounts& counts) {
  const FaultStep& step = at.step;
  counts.exposed += static_cast<uint64_t>(t.elements);
  for (int64_t i = 0; i < t.elements; ++i) {
    const uint32_t draw = at.Draw(i / 4, static_cast<int>(i % 4));
    int normal = 0;
    for (uint32_t k = 0; k < step.normal_size; ++k)
      normal += draw / 2 >= step.normal_thresholds[k] ? 1 : 0;
    if (draw % 2 == 1) normal = -normal;
    const FaultEffect effect = ApplyFault(step, t.codes[i], {1, static_cast<uint32_t>(normal)});
    if (effect.code == t.codes[i]) continue;
    const bool up = effect.code > t.codes[i];
    t.Store(i, 0, up, effect);
    counts.delivered += 1;
    counts.positive += up ? 1 : 0;
    counts.negative += up ? 0 : 1;
  }
}

void RefColumns(const Address& at, RefTarget& t, TermCounts& counts) {
  const FaultStep& step = at.step;
  std::set<int> used, hit;
  for (int64_t i = 0; i < t.elements; ++i) {
    const auto column = static_cast<int>(i % t.channels % step.columns);
    used.insert(column);
    const uint32_t draw = at.Draw(column / 4, column % 4);
    if (draw > step.dense_last) continue;
    const bool one = draw % 2 < step.one_threshold;
    t.Store(i, step.column_bit, one, ApplyFault(step, t.codes[i], {1, one ? 1u : 0u}));
    if (!hit.insert(column).second) continue;
    counts.delivered += 1;
    if (step.column_mode != ColumnMode::kBit) continue;
    counts.bit[step.column_bit] += 1;
    (one ? counts.positive : counts.negative) += 1;
  }
  counts.exposed += used.size();
}

void RunRef(const SiteFaults& faults, FaultMoment moment, uint32_t image, RefTarget t,
            FaultCounts* counts, FaultRecorder* recorder) {
  for (const FaultStep& step : faults.steps) {
    t.stamp = {.trial = moment.trial,
               .image = image,
               .site = static_cast<uint16_t>(faults.site),
               .model = step.model,
               .term = step.term};
    const Address at{step, FaultWord1(step, image, moment.training), moment.trial};
    TermCounts local;
    if (step.style == FaultStyle::kCells) RefCells(at, t, local);
    if (step.style == FaultStyle::kEvery) RefEvery(at, t, local);
    if (step.style == FaultStyle::kColumns) RefColumns(at, t, local);
    if (counts != nullptr) counts->Add(step.term, local);
  }
  if (recorder != nullptr) recorder->Append(t.rows);
}

}  // namespace

void InjectFeatureRef(const SiteFaults& faults, FaultMoment moment, uint32_t image, int8_t* codes,
                      int64_t elements, int channels, uint8_t* pass_mask, FaultCounts* counts,
                      FaultRecorder* recorder) {
  if (faults.replay != nullptr) {
    Replay(faults, moment, image, codes, elements, pass_mask, nullptr, counts, recorder);
    return;
  }
  RunRef(faults, moment, image, {codes, elements, channels, pass_mask, nullptr, {}, {}}, counts,
         recorder);
}

void InjectWeightsRef(const SiteFaults& faults, FaultMoment moment, int8_t* codes, int64_t n,
                      uint8_t* moved_mask, FaultCounts* counts, FaultRecorder* recorder) {
  if (faults.replay != nullptr) {
    Replay(faults, moment, 0, codes, n, nullptr, moved_mask, counts, recorder);
    return;
  }
  RunRef(faults, moment, 0, {codes, n, 1, nullptr, moved_mask, {}, {}}, counts, recorder);
}

}  // namespace ftt
