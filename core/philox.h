// Philox4x32-10, the only random number generator of the project.
//
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
// Counter-based: a draw is a pure function of (key, counter), so nothing that is random here has a
// state that could get lost or reordered.
#pragma once

#include <array>
#include <cstdint>

#include "core/host_device.h"

namespace ftt {

// Streams of one seed that never overlap. The stream occupies the top byte of counter word 3.
enum class Stream : uint32_t {
  kInit = 1,        // weight initialisation
  kShuffle = 2,     // order of the training images
  kAugment = 3,     // crop, flip, cutout
  kController = 4,  // architecture sampling
  kDropout = 5,
  kFault = 6,
  kShapes = 7,  // the built-in data set
  kSearch = 8,  // random search and evolution
  kBootstrap = 9,
};

struct PhiloxCounter {
  uint32_t v[4];
};

// One block of four 32-bit draws.
FTT_HD inline PhiloxCounter Philox(PhiloxCounter counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter.v[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter.v[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.v[1] ^ key0,
                static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.v[3] ^ key1,
                static_cast<uint32_t>(product0)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

FTT_HD inline PhiloxCounter Philox(PhiloxCounter counter, uint64_t seed) {
  return Philox(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

// Sequential draws from one (seed, stream, a, b) for host code that needs "the next number". `a`
// and `b` name the purpose (an epoch, a step, a hash of a name); the position is the block counter.
class PhiloxSequence {
 public:
  PhiloxSequence(uint64_t seed, Stream stream, uint32_t a, uint32_t b = 0)
      : seed_(seed), counter_{{0, a, b, static_cast<uint32_t>(stream) << 24}} {}

  uint32_t Next() {
    if (used_ == 4) {
      block_ = Philox(counter_, seed_);
      ++counter_.v[0];
      used_ = 0;
    }
    return block_.v[used_++];
  }
  // Uniform on [0, n) without modulo bias (Lemire 2019).
  uint32_t Below(uint32_t n) {
    uint64_t product = uint64_t{Next()} * n;
    if (static_cast<uint32_t>(product) < n) {
      const uint32_t threshold = (0u - n) % n;
      while (static_cast<uint32_t>(product) < threshold) product = uint64_t{Next()} * n;
    }
    return static_cast<uint32_t>(product >> 32);
  }
  // Uniform on [0, 1) with 24 bits; for initialisation and augmentation only, never for faults.
  float Uniform() { return static_cast<float>(Next() >> 8) * 0x1p-24f; }
  // Uniform on [0, 1) with 53 bits.
  double UniformDouble() {
    const uint64_t high = Next();
    return static_cast<double>((high << 21) ^ (Next() >> 11)) * 0x1p-53;
  }

 private:
  uint64_t seed_;
  PhiloxCounter counter_;
  PhiloxCounter block_{};
  int used_ = 4;
};

}  // namespace ftt
