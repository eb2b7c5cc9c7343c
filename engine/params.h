// Parameters by name, with their optimizer state. A supernet's sub-networks share parameters
// through the names.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/program.h"

namespace ftt {

struct Param {
  ParamInfo info;
  std::vector<float> value;
  std::vector<float> momentum;       // empty until the first update
  std::vector<float> second_moment;  // Adam only
  int64_t updates = 0;               // Adam only
};

class ParamStore {
 public:
  explicit ParamStore(uint64_t seed) : seed_(seed) {}

  // The parameter of that name; created and initialised on first use. Initial values are a function
  // of (seed, name) alone: convolutions uniform with He variance 2 / fan_in, the classifier uniform
  // in +-1/sqrt(fan_in), batch norm 1 and 0. Throws ftt::Error if a parameter of that name has
  // another shape.
  Param& Get(const ParamInfo& info);
  const std::map<std::string, Param>& All() const { return params_; }
  std::map<std::string, Param>& All() { return params_; }
  uint64_t Seed() const { return seed_; }

 private:
  uint64_t seed_;
  std::map<std::string, Param> params_;
};

}  // namespace ftt
