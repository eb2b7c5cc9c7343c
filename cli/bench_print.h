// Rows of `ftt-cuda bench`, for people and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "engine/device_bench.h"

namespace ftt {

void PrintHeader(const BenchOptions& options, const FaultSpec& faults);
void Print(const BenchRow& row);
nlohmann::ordered_json ToJson(const BenchRow& row);

void PrintHeader(const SweepBenchOptions& options, const FaultSpec& faults);
void Print(const SweepBenchRow& row);
nlohmann::ordered_json ToJson(const SweepBenchRow& row);

void PrintRates(const KernelBenchRates& rates, const KernelBenchOptions& options);
void Print(const KernelBenchRow& row);
nlohmann::ordered_json ToJson(const KernelBenchRates& rates);
nlohmann::ordered_json ToJson(const KernelBenchRow& row);

// Medians over the rows that are right, for the project's targets.
class KernelSummary {
 public:
  void Add(const KernelBenchRow& row);
  void Print() const;

 private:
  std::vector<double> separable_, dense3_, peer_, depthwise_floor_, faulty_;
};

}  // namespace ftt
