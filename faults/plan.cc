#include "faults/plan.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "faults/model_list.h"
#include "faults/probability.h"

namespace ftt {
namespace {

// Where an element is hit more often than this the dense sampler is chosen. On CPUs the sparse one
// is the faster up to there (benchmarks/bench_faults.cc; a sweep of ResNet-20 up to 1e-3 per
// multiply-add, where sites have up to 0.44, costs 1.09 clean passes per trial instead of 1.53).
// Beyond, its arrivals repeat elements and its cost keeps rising.
constexpr double kDenseFrom = 0.45;
constexpr double kSparseResolution = 0x1p-32;  // of the rate of a tile

uint32_t SitesOfTerm(const FaultTerm& term) {
  const FaultModelInfo& info = FaultModels()[term.model];
  return info.sites | (term.linear ? SiteBit(SiteKind::kLogits) : 0);
}

// -ln(1-p) of a unit at the given rate; additive over the chances it sums up.
double UnitHazard(const FaultTerm& term, const FaultSite& site, double rate) {
  const FaultModelInfo& info = FaultModels()[term.model];
  double chances = 1;
  if (info.per_mac) chances = static_cast<double>(site.macs);
  if (info.style == FaultStyle::kColumns) chances = term.rows;
  return chances * NegLog1m(rate);
}

Sampler ChooseSampler(const FaultTerm& term, const FaultSite& site, const FaultStep& step,
                      double max_rate) {
  if (term.sampler != SamplerChoice::kAuto) {
    return term.sampler == SamplerChoice::kDense ? Sampler::kDense : Sampler::kSparse;
  }
  const double per_element =
      UnitHazard(term, site, max_rate) * (step.one_fault ? 1 : step.valid_count);
  return OneMinusExp(per_element) < kDenseFrom ? Sampler::kSparse : Sampler::kDense;
}

std::string At(const FaultTerm& term, const FaultSite& site) {
  return fmt::format("fault {} at site {}", term.Text(), site.name);
}

void PlanCells(const FaultTerm& term, const FaultModelInfo& info, const FaultSite& site,
               FaultStep& step) {
  step.cells_log2 = static_cast<uint8_t>(info.cells_log2);
  step.one_fault = info.one_fault;
  uint32_t valid = info.valid_cells(step.bits);
  if (term.bit >= 0) {
    FTT_CHECK(term.bit < step.bits, "{}: bit={} does not exist in codes of {} bits", At(term, site),
              term.bit, step.bits);
    step.first_cell = static_cast<uint8_t>(term.bit);
    step.cells_log2 = 0;
    valid = 1u << term.bit;
  }
  step.valid_cells = static_cast<uint16_t>(valid);
  step.valid_count = static_cast<uint16_t>(__builtin_popcount(valid));
  step.dense_pairs = info.typed;
  // A flip has no value; its rows say 1.
  const double either = info.one_fault ? 0.5 : 1;
  const double ones = info.typed ? term.saf1 : term.value < 0 ? either : term.value;
  step.one_threshold = static_cast<uint32_t>(ones * (1u << kTypeBits) + 0.5);
}

void PlanDense(const FaultTerm& term, const FaultSite& site, uint32_t modulus, FaultStep& step) {
  step.sampler = Sampler::kDense;
  step.dense_modulus = modulus;
  const double p = OneMinusExp(UnitHazard(term, site, term.rate));
  // p = 1 hits always; the bias that a modulus which does not divide 2^32 then leaves is below
  // 2^-28.
  const auto threshold =
      p >= 1 ? uint64_t{1} << 32
             : static_cast<uint64_t>(p * 0x1p32 / modulus + 0.5) * uint64_t{modulus};
  FTT_CHECK(threshold > 0,
            "{}: probability {:.3g} is below the resolution of the dense sampler ({:.3g}); raise "
            "the rate or use "
            "sampler=sparse",
            At(term, site), p, modulus * 0x1p-32);
  step.dense_last = static_cast<uint32_t>(std::min<uint64_t>(threshold, uint64_t{1} << 32) - 1);
}

void PlanSparse(const FaultTerm& term, const FaultSite& site, SiteFaults& out, FaultStep& step) {
  step.sampler = Sampler::kSparse;
  const double cells = 1 << step.cells_log2;
  // One fault per code: its cell is drawn among all, so the share of cells that do not exist is
  // made up for.
  const double factor = step.one_fault ? cells / step.valid_count : cells;
  const double mean = kTileElements * factor * UnitHazard(term, site, term.rate);
  FTT_CHECK(mean >= kSparseResolution,
            "{}: probability {:.3g} is below the resolution of the sparse sampler ({:.3g}); raise "
            "the rate, or use 0 "
            "for no faults",
            At(term, site), UnitHazard(term, site, term.rate),
            kSparseResolution / (kTileElements * factor));
  FTT_CHECK(mean <= kMaxTileRate,
            "{}: the rate is too high for the sparse sampler; use sampler=dense or auto",
            At(term, site));
  const std::shared_ptr<const PoissonTable> table = PoissonTableFor(mean);
  step.count_first = table->first;
  step.count_size = static_cast<uint32_t>(table->thresholds.size());
  step.count_thresholds = table->thresholds.data();
  step.count_guide = table->guide.data();
  out.tables.push_back(table);
}

void PlanEvery(const FaultTerm& term, const FaultSite& site, FaultStep& step) {
  step.sampler = Sampler::kDense;
  step.sigma = static_cast<int64_t>(term.rate * 0x1p40 + 0.5);
  FTT_CHECK(step.sigma > 0, "{}: sigma is below its resolution ({:.3g})", At(term, site), 0x1p-40);
  step.normal_thresholds = NormalThresholds().data();
  step.normal_size = static_cast<uint32_t>(NormalThresholds().size());
}

void PlanColumns(const FaultTerm& term, const FaultSite& site, FaultStep& step) {
  step.columns = static_cast<uint16_t>(term.cols);
  step.column_mode = term.column_mode;
  step.column_bit = static_cast<uint8_t>(term.bit < 0 ? 0 : term.bit);
  FTT_CHECK(step.column_bit < step.bits, "{}: bit={} does not exist in codes of {} bits",
            At(term, site), term.bit, step.bits);
  step.one_fault = true;
  step.one_threshold = term.value < 0 ? 1 : term.value == 1 ? 2 : 0;  // of the draw's lowest bit
  PlanDense(term, site, 2, step);
}

uint32_t Repetition(const FaultSpec& spec, size_t term) {
  uint32_t n = 0;
  for (size_t i = 0; i < term; ++i) n += spec.terms[i].model == spec.terms[term].model ? 1 : 0;
  return n;
}

void CheckSite(const FaultSite& site, int bits) {
  FTT_CHECK(bits >= 4 && bits <= 8, "fault site {}: codes of {} bits; 4 to 8 are possible",
            site.name, bits);
  FTT_CHECK(site.id >= 0 && site.id < static_cast<int>(kArraySite),
            "fault site {}: id {} is outside [0, {}]", site.name, site.id, kArraySite - 1);
  FTT_CHECK(site.elements <= kMaxSiteElements,
            "fault site {}: {} elements; at most {} can be addressed", site.name, site.elements,
            kMaxSiteElements);
}

}  // namespace

SiteFaults PlanSite(const FaultSpec& spec, const FaultSite& site, int bits, uint64_t seed,
                    double max_rate) {
  SiteFaults out;
  out.site = site.id;
  out.bits = bits;
  for (size_t i = 0; i < spec.terms.size(); ++i) {
    const FaultTerm& term = spec.terms[i];
    if (term.rate == 0 || (SitesOfTerm(term) & SiteBit(site.kind)) == 0) continue;
    CheckSite(site, bits);
    const FaultModelInfo& info = FaultModels()[term.model];
    FTT_CHECK(!info.per_mac || site.macs > 0, "{}: the site has no multiply-adds", At(term, site));
    FaultStep step;
    step.model = term.model;
    step.term = static_cast<uint8_t>(i);
    step.style = info.style;
    step.lifetime = term.lifetime;
    step.bits = static_cast<uint8_t>(bits);
    step.mask_above = static_cast<uint8_t>(info.mask_above);
    step.window = term.window;
    const uint32_t address_site =
        info.style == FaultStyle::kColumns ? kArraySite : static_cast<uint32_t>(site.id);
    step.word3 = FaultWord3(Repetition(spec, i), term.model, address_site);
    step.key0 = static_cast<uint32_t>(seed);
    step.key1 = static_cast<uint32_t>(seed >> 32);
    if (info.style == FaultStyle::kEvery) {
      PlanEvery(term, site, step);
    } else if (info.style == FaultStyle::kColumns) {
      PlanColumns(term, site, step);
    } else {
      PlanCells(term, info, site, step);
      if (ChooseSampler(term, site, step, std::max(max_rate, term.rate)) == Sampler::kSparse) {
        PlanSparse(term, site, out, step);
      } else {
        PlanDense(term, site, step.one_fault ? 2u * step.valid_count : 1, step);
      }
    }
    out.steps.push_back(step);
  }
  return out;
}

double UnitProbability(const FaultTerm& term, const FaultSite& site) {
  if ((SitesOfTerm(term) & SiteBit(site.kind)) == 0) return 0;
  if (FaultModels()[term.model].style == FaultStyle::kEvery)
    return std::numeric_limits<double>::quiet_NaN();
  return OneMinusExp(UnitHazard(term, site, term.rate));
}

}  // namespace ftt
