#include "faults/audit.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "faults/models.h"

namespace ftt {
namespace {

int64_t Repeats(const FaultTerm& term, SiteKind kind, int64_t images) {
  if ((SiteBit(kind) & kWeightSites) != 0 || term.lifetime == Lifetime::kTransient) return 1;
  return term.lifetime == Lifetime::kPermanent ? images : std::min<int64_t>(images, term.window);
}

std::string Bits(const AuditRow& row) {
  uint64_t total = 0;
  int used = 0;
  for (int k = 0; k < 8; ++k) {
    total += row.counts.bit[k];
    if (row.counts.bit[k] > 0) used = k + 1;
  }
  if (total == 0) return "";
  std::string text = "bits";
  for (int k = 0; k < used; ++k) {
    text +=
        fmt::format(" {}:{:.1f}%", k,
                    100.0 * static_cast<double>(row.counts.bit[k]) / static_cast<double>(total));
  }
  return text + fmt::format(", +/one {}, -/zero {}", row.counts.positive, row.counts.negative);
}

}  // namespace

FaultAudit::FaultAudit(FaultSpec spec, int64_t images) : spec_(std::move(spec)), images_(images) {
  FTT_CHECK(images >= 1, "fault audit: {} images per trial; at least 1", images);
}

FaultAudit::Group& FaultAudit::Find(int term, const FaultSite& site) {
  const FaultTerm& t = spec_.terms[static_cast<size_t>(term)];
  const FaultModelInfo& info = FaultModels()[t.model];
  const int64_t macs = info.per_mac ? site.macs : 0;
  for (Group& group : groups_) {
    if (group.row.term == term && group.kind == site.kind && group.macs == macs) return group;
  }
  Group group{{}, site.kind, macs, Repeats(t, site.kind, images_), 0};
  group.row.term = term;
  group.row.model = info.name;
  group.row.sites = SiteKindName(site.kind);
  if (info.per_mac) group.row.sites += fmt::format(", M={}", macs);
  groups_.push_back(group);
  return groups_.back();
}

void FaultAudit::Add(const FaultSite& site, const FaultCounts& counts) {
  for (size_t i = 0; i < spec_.terms.size(); ++i) {
    const double p = UnitProbability(spec_.terms[i], site);
    if (p == 0) continue;
    Group& group = Find(static_cast<int>(i), site);
    group.row.counts.Merge(counts.term[i]);
    group.row.expected += p * static_cast<double>(counts.term[i].exposed);
    ++group.sites;
  }
}

std::vector<AuditRow> FaultAudit::Rows() const {
  std::vector<AuditRow> rows;
  for (const Group& group : groups_) {
    AuditRow row = group.row;
    const auto exposed = static_cast<double>(row.counts.exposed);
    row.requested = row.counts.exposed == 0 ? 0 : row.expected / exposed;
    row.achieved =
        row.counts.exposed == 0 ? 0 : static_cast<double>(row.counts.delivered) / exposed;
    // All sites of a systolic array see the same columns.
    const bool array = FaultModels()[spec_.terms[static_cast<size_t>(row.term)].model].style ==
                       FaultStyle::kColumns;
    const int64_t repeats = group.repeats * (array ? group.sites : 1);
    const auto units = static_cast<int64_t>(row.counts.exposed) / repeats;
    const auto hits = static_cast<int64_t>(row.counts.delivered) / repeats;
    row.interval = WilsonInterval(std::min(hits, units), units, 0.95);
    rows.push_back(row);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const AuditRow& a, const AuditRow& b) { return a.term < b.term; });
  return rows;
}

std::string FaultAudit::Table() const {
  const std::vector<AuditRow> rows = Rows();
  if (rows.empty()) return "";
  std::string text =
      fmt::format("{:<14} {:<18} {:>14} {:>12} {:>12} {:>12}   {}\n", "fault", "sites", "exposed",
                  "requested", "delivered", "achieved", "95 % interval");
  for (const AuditRow& row : rows) {
    const std::string requested =
        std::isnan(row.requested) ? "-" : fmt::format("{:.4e}", row.requested);
    text += fmt::format("{:<14} {:<18} {:>14} {:>12} {:>12} {:>12.4e}   [{:.4e}, {:.4e}]\n",
                        row.model, row.sites, row.counts.exposed, requested, row.counts.delivered,
                        row.achieved, row.interval.low, row.interval.high);
    const std::string bits = Bits(row);
    if (!bits.empty()) text += fmt::format("{:<14} {}\n", "", bits);
  }
  return text;
}

std::string FaultAudit::Warning() const {
  std::string text;
  const std::vector<AuditRow> rows = Rows();
  for (size_t i = 0; i < spec_.terms.size(); ++i) {
    if (spec_.terms[i].rate == 0) continue;
    TermCounts sum;
    double expected = 0;
    for (const AuditRow& row : rows) {
      if (row.term != static_cast<int>(i)) continue;
      sum.Merge(row.counts);
      expected += row.expected;
    }
    if (sum.delivered > 0) continue;
    const std::string why =
        sum.exposed == 0 ? "the run has no site that this model can hit"
        : std::isnan(expected)
            ? fmt::format("{} codes exposed", sum.exposed)
            : fmt::format("{} places exposed, {:.3g} faults expected", sum.exposed, expected);
    text +=
        fmt::format("WARNING: NO FAULT WAS DELIVERED by '{}', though faults were asked for: {}.\n",
                    spec_.terms[i].Text(), why);
  }
  return text;
}

}  // namespace ftt
