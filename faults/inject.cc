#include "faults/inject.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "faults/bias_strikes.h"
#include "faults/fault_list.h"
#include "faults/model_list.h"
#include "faults/replay.h"
#include "faults/tiles.h"

namespace ftt {
namespace {

// What a step works on.
struct Target {
  int8_t* codes;
  int64_t elements;
  int channels;
  uint8_t* pass_mask;           // nullable
  uint8_t* moved_mask;          // nullable
  std::vector<FaultRow>* rows;  // nullable
  FaultRow stamp;               // of the step's rows: trial, image, site, model, term
};

void ClearPass(uint8_t* mask, int64_t element, bool saturated) {
  if (mask != nullptr)
    mask[element >> 3] &=
        static_cast<uint8_t>(~(static_cast<uint32_t>(saturated) << (element & 7)));
}

void AddRow(const Target& t, int64_t element, uint32_t cell, bool value, int old_code,
            int new_code) {
  FaultRow row = t.stamp;
  row.element = static_cast<uint32_t>(element);
  row.cell = static_cast<uint8_t>(cell);
  row.value = value ? 1 : 0;
  row.old_code = static_cast<int8_t>(old_code);
  row.new_code = static_cast<int8_t>(new_code);
  t.rows->push_back(row);
}

// Any model of style kCells: collects the cells hit in a tile, then applies them code by code.
class CellConsumer {
 public:
  CellConsumer(const FaultStep& step, const Target& target, TermCounts& counts)
      : step_(step), target_(target), counts_(counts) {}

  void Begin(int64_t base, int elements) {
    base_ = base;
    elements_ = static_cast<uint32_t>(elements);
    touched_ = 0;
  }

  void Take(const uint32_t* payloads, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t payload = payloads[i], position = PayloadPosition(payload),
                     cell = PayloadCell(step_, payload);
      const uint32_t before = hit_[position];
      const uint32_t taken = step_.one_fault ? before : before >> cell & 1;
      if (position >= elements_ || (step_.valid_cells >> cell & 1) == 0 || taken != 0) continue;
      const bool one = PayloadType(payload) < step_.one_threshold;
      if (before == 0) list_[touched_++] = static_cast<uint16_t>(position);
      hit_[position] = static_cast<uint16_t>(before | 1u << cell);
      ones_[position] = static_cast<uint16_t>(ones_[position] | static_cast<uint32_t>(one) << cell);
      ++counts_.delivered;
      ++counts_.bit[cell & 7];
      ++(one ? counts_.positive : counts_.negative);
    }
  }

  void End() {
    for (uint32_t i = 0; i < touched_; ++i) {
      const uint32_t position = list_[i];
      const int64_t element = base_ + position;
      const FaultHit hit{hit_[position], ones_[position]};
      hit_[position] = ones_[position] = 0;
      const int before = target_.codes[element];
      const FaultEffect effect = ApplyFault(step_, before, hit);
      if (target_.rows != nullptr) Record(element, before, hit);
      target_.codes[element] = static_cast<int8_t>(effect.code);
      ClearPass(target_.pass_mask, element, effect.saturated);
      if (target_.moved_mask != nullptr && std::abs(effect.code - before) > step_.mask_above) {
        target_.moved_mask[element] = 1;
      }
    }
  }

 private:
  // One row per cell, each from the code that the cells before it leave.
  void Record(int64_t element, int code, FaultHit hit) {
    int before = code;
    for (uint32_t cell = 0, seen = 0; cell < 16; ++cell) {
      if ((hit.cells >> cell & 1) == 0) continue;
      seen |= 1u << cell;
      const int after = ApplyFault(step_, code, {hit.cells & seen, hit.ones & seen}).code;
      AddRow(target_, element, cell, (hit.ones >> cell & 1) != 0, before, after);
      before = after;
    }
  }

  const FaultStep& step_;
  const Target& target_;
  TermCounts& counts_;
  int64_t base_ = 0;
  uint32_t elements_ = 0, touched_ = 0;
  uint16_t hit_[kTileElements] = {}, ones_[kTileElements] = {}, list_[kTileElements];
};

// histogram: codes hit, by cell + 8 where the bias is positive.
void CountBiases(const uint32_t histogram[16], uint32_t first_cell, TermCounts& counts) {
  for (uint32_t cell = 0; cell < 8; ++cell) {
    const uint32_t negative = histogram[cell], positive = histogram[cell + 8];
    counts.bit[(cell + first_cell) & 7] += negative + positive;
    counts.delivered += negative + positive;
    counts.negative += negative;
    counts.positive += positive;
  }
}

// Bit biases, the model of every search step, applied while the payloads are read: no code is hit
// twice, so nothing needs collecting.
template <bool kMask>
class BiasConsumer {
 public:
  BiasConsumer(const FaultStep& step, const Target& target) : step_(step), target_(target) {
    for (uint32_t cell = 0; cell < 8; ++cell) {
      const int bias = 1 << ((cell + step.first_cell) & 7);
      bias_[cell] = -bias;
      bias_[cell + 8] = bias;
      valid_ |= (step.valid_cells >> (cell + step.first_cell) & 1u) << cell;
    }
    mask_ = (1u << step.cells_log2) - 1;
    high_ = FaultCodeMax(step);
  }

  void Begin(int64_t base, int elements) {
    base_ = base;
    elements_ = static_cast<uint32_t>(elements);
    std::memset(seen_, 0, sizeof seen_);
  }

  void Take(const uint32_t* payloads, uint32_t count) {
    int8_t* codes = target_.codes + base_;
    uint8_t* pass = kMask ? target_.pass_mask + (base_ >> 3) : nullptr;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t payload = payloads[i], position = PayloadPosition(payload),
                     cell = payload & mask_;
      const uint64_t bit = uint64_t{1} << (position & 63);
      uint64_t& seen = seen_[position >> 6];
      if (position >= elements_ || (valid_ >> cell & 1) == 0 || (seen & bit) != 0) continue;
      seen |= bit;
      const uint32_t kind = cell | (PayloadType(payload) < step_.one_threshold ? 8u : 0u);
      const int biased = codes[position] + bias_[kind];
      const int code = std::clamp(biased, -high_ - 1, high_);
      codes[position] = static_cast<int8_t>(code);
      ++histogram_[kind];
      if (kMask)
        pass[position >> 3] &=
            static_cast<uint8_t>(~(static_cast<uint32_t>(code != biased) << (position & 7)));
    }
  }

  void End() {}

  void Count(TermCounts& counts) const { CountBiases(histogram_, step_.first_cell, counts); }

 private:
  const FaultStep& step_;
  const Target& target_;
  int64_t base_ = 0;
  uint32_t elements_ = 0, valid_ = 0, mask_ = 0;
  int high_ = 127;
  int bias_[16];
  uint32_t histogram_[16] = {};
  uint64_t seen_[kTileElements / 64];
};

template <typename Consumer>
void Tiles(const FaultStep& step, const PhiloxBatch& batch, int64_t elements, Consumer& consumer) {
  static thread_local TileScratch scratch;
  if (step.sampler == Sampler::kSparse) {
    SparseTiles(step, batch, elements, scratch, consumer);
  } else {
    DenseTiles(step, batch, elements, scratch, consumer);
  }
}

template <bool kMask>
void InjectBias(const FaultStep& step, const PhiloxBatch& batch, const Target& t,
                TermCounts& counts) {
  BiasConsumer<kMask> consumer(step, t);
  Tiles(step, batch, t.elements, consumer);
  consumer.Count(counts);
}

void InjectCells(const FaultStep& step, const PhiloxBatch& batch, const Target& t,
                 TermCounts& counts) {
  counts.exposed = static_cast<uint64_t>(t.elements) * (step.one_fault ? 1u : step.valid_count);
  const bool plain = t.rows == nullptr && t.moved_mask == nullptr;
  if (plain && step.model == static_cast<uint8_t>(FaultModelId::kMibb)) {
    if (CanStrikeBiases(step)) {
      uint32_t histogram[16] = {};
      StrikeBiases(step, batch, t.codes, t.elements, t.pass_mask, histogram);
      CountBiases(histogram, step.first_cell, counts);
      return;
    }
    t.pass_mask == nullptr ? InjectBias<false>(step, batch, t, counts)
                           : InjectBias<true>(step, batch, t, counts);
    return;
  }
  CellConsumer consumer(step, t, counts);
  Tiles(step, batch, t.elements, consumer);
}

void InjectEvery(const FaultStep& step, const PhiloxBatch& batch, const Target& t,
                 TermCounts& counts) {
  constexpr int64_t kChunk = 1024;
  std::vector<uint32_t> word0, blocks;
  counts.exposed = static_cast<uint64_t>(t.elements);
  for (int64_t base = 0; base < t.elements; base += kChunk) {
    const int64_t n = std::min(kChunk, t.elements - base);
    word0.resize(static_cast<size_t>(n + 3) / 4);
    for (size_t i = 0; i < word0.size(); ++i)
      word0[i] = static_cast<uint32_t>(base / 4) + static_cast<uint32_t>(i);
    BlocksOf(batch, word0, blocks);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t element = base + i;
      const int before = t.codes[element];
      const auto normal =
          static_cast<uint32_t>(NormalFromDraw(step, blocks[static_cast<size_t>(i)]));
      const FaultEffect effect = ApplyFault(step, before, {1, normal});
      if (effect.code == before) continue;
      ++counts.delivered;
      ++(effect.code > before ? counts.positive : counts.negative);
      if (t.rows != nullptr) AddRow(t, element, 0, effect.code > before, before, effect.code);
      t.codes[element] = static_cast<int8_t>(effect.code);
    }
  }
}

void InjectColumns(const FaultStep& step, const PhiloxBatch& batch, const Target& t,
                   TermCounts& counts) {
  std::vector<uint32_t> word0((step.columns + 3u) / 4), blocks;
  for (size_t i = 0; i < word0.size(); ++i) word0[i] = static_cast<uint32_t>(i);
  BlocksOf(batch, word0, blocks);
  const int used = std::min<int>(step.columns, t.channels);
  counts.exposed = static_cast<uint64_t>(used);
  for (int column = 0; column < used; ++column) {
    const uint32_t draw = blocks[static_cast<size_t>(column)];
    if (draw > step.dense_last) continue;
    const bool one = (draw & 1) < step.one_threshold;
    ++counts.delivered;
    if (step.column_mode == ColumnMode::kBit) {
      ++counts.bit[step.column_bit];
      ++(one ? counts.positive : counts.negative);
    }
    for (int64_t pixel = 0; pixel < t.elements; pixel += t.channels) {
      for (int c = column; c < t.channels; c += step.columns) {
        int8_t& code = t.codes[pixel + c];
        const FaultEffect effect = ApplyFault(step, code, {1, one ? 1u : 0u});
        if (t.rows != nullptr) AddRow(t, pixel + c, step.column_bit, one, code, effect.code);
        code = static_cast<int8_t>(effect.code);
      }
    }
  }
}

void Run(const SiteFaults& faults, FaultMoment moment, uint32_t image, Target t,
         FaultCounts* counts, FaultRecorder* recorder) {
  std::vector<FaultRow> rows;
  if (recorder != nullptr) t.rows = &rows;
  for (const FaultStep& step : faults.steps) {
    t.stamp = {.trial = moment.trial,
               .image = image,
               .site = static_cast<uint16_t>(faults.site),
               .model = step.model,
               .term = step.term};
    const PhiloxBatch batch{FaultWord1(step, image, moment.training), moment.trial, step.word3,
                            step.key0, step.key1};
    TermCounts local;
    switch (step.style) {
      case FaultStyle::kCells:
        InjectCells(step, batch, t, local);
        break;
      case FaultStyle::kEvery:
        InjectEvery(step, batch, t, local);
        break;
      case FaultStyle::kColumns:
        InjectColumns(step, batch, t, local);
        break;
    }
    if (counts != nullptr) counts->Add(step.term, local);
  }
  if (recorder != nullptr && !rows.empty()) recorder->Append(rows);
}

}  // namespace

void TermCounts::Merge(const TermCounts& other) {
  exposed += other.exposed;
  delivered += other.delivered;
  for (int i = 0; i < 8; ++i) bit[i] += other.bit[i];
  positive += other.positive;
  negative += other.negative;
}

void FaultCounts::Merge(const FaultCounts& other) {
  TermCounts::Merge(other);
  for (int i = 0; i < kMaxFaultTerms; ++i) term[i].Merge(other.term[i]);
}

void FaultCounts::Add(int ordinal, const TermCounts& counts) {
  TermCounts::Merge(counts);
  term[ordinal].Merge(counts);
}

void InjectFeature(const SiteFaults& faults, FaultMoment moment, uint32_t image, int8_t* codes,
                   int64_t elements, int channels, uint8_t* pass_mask, FaultCounts* counts,
                   FaultRecorder* recorder) {
  if (faults.replay != nullptr) {
    Replay(faults, moment, image, codes, elements, pass_mask, nullptr, counts, recorder);
    return;
  }
  Run(faults, moment, image, {codes, elements, channels, pass_mask, nullptr, nullptr, {}}, counts,
      recorder);
}

void InjectWeights(const SiteFaults& faults, FaultMoment moment, int8_t* codes, int64_t n,
                   uint8_t* moved_mask, FaultCounts* counts, FaultRecorder* recorder) {
  if (faults.replay != nullptr) {
    Replay(faults, moment, 0, codes, n, nullptr, moved_mask, counts, recorder);
    return;
  }
  Run(faults, moment, 0, {codes, n, 1, nullptr, moved_mask, nullptr, {}}, counts, recorder);
}

void InjectLogits(const SiteFaults& faults, FaultMoment moment, uint32_t image, float* logits,
                  int n, FaultCounts* counts, FaultRecorder* recorder) {
  if (faults.Empty()) return;
  float largest = 1e-5f;  // the exponent of semantics section 1
  for (int i = 0; i < n; ++i) {
    if (!std::isfinite(logits[i])) return;  // no code stands for such a logit
    largest = std::max(largest, std::fabs(logits[i]));
  }
  int exponent = 0;
  const float mantissa = std::frexp(largest, &exponent);
  exponent -= (mantissa == 0.5f ? 1 : 0) + faults.bits - 1;  // ceil(log2(largest)) - (bits - 1)
  const float high = std::ldexp(1.0f, faults.bits - 1) - 1;
  std::vector<int8_t> clean(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) {
    const float code = std::nearbyint(std::ldexp(logits[i], -exponent));
    clean[static_cast<size_t>(i)] = static_cast<int8_t>(std::clamp(code, -high - 1, high));
  }
  std::vector<int8_t> codes = clean;
  InjectFeature(faults, moment, image, codes.data(), n, n, nullptr, counts, recorder);
  for (size_t i = 0; i < codes.size(); ++i) {
    if (codes[i] != clean[i]) logits[i] = std::ldexp(static_cast<float>(codes[i]), exponent);
  }
}

}  // namespace ftt
