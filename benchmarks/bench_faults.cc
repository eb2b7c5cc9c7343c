// Cost of fault injection per element. A row: sampler (0 sparse, 1 dense), probability of an
// element in units of 1e-4, with the straight-through mask or without.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <vector>

#include "faults/inject.h"

namespace {

constexpr int64_t kElements = 16 * 16 * 80;

ftt::FaultSite Site() {
  ftt::FaultSite site;
  site.id = 1;
  site.name = "bench";
  site.kind = ftt::SiteKind::kConv;
  site.macs = 1;
  site.h = 16;
  site.w = 16;
  site.c = 80;
  site.elements = kElements;
  return site;
}

void Run(benchmark::State& state, const char* model) {
  const double rate = static_cast<double>(state.range(1)) * 1e-4;
  const std::string spec =
      fmt::format("{}:{},sampler={}", model, rate, state.range(0) == 0 ? "sparse" : "dense");
  const ftt::SiteFaults faults = ftt::PlanSite(ftt::ParseFaultSpec(spec), Site(), 8, 1);
  std::vector<int8_t> codes(kElements);
  std::vector<uint8_t> mask(kElements / 8, 0xFF);
  ftt::FaultCounts counts;
  uint32_t image = 0;
  for (auto _ : state) {
    ftt::InjectFeature(faults, {}, image++, codes.data(), kElements, 80,
                       state.range(2) != 0 ? mask.data() : nullptr, &counts, nullptr);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kElements);
  state.counters["s/element"] = benchmark::Counter(
      static_cast<double>(kElements),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void Mibb(benchmark::State& state) { Run(state, "mibb"); }
void IbfFeature(benchmark::State& state) { Run(state, "ibf-feature"); }

BENCHMARK(Mibb)
    ->ArgNames({"dense", "p*1e4", "mask"})
    ->ArgsProduct({{0, 1}, {10, 100, 200, 1500}, {0, 1}});
BENCHMARK(IbfFeature)
    ->ArgNames({"dense", "p*1e4", "mask"})
    ->ArgsProduct({{0, 1}, {1, 10, 100}, {0}});

}  // namespace

BENCHMARK_MAIN();
