// Dense int8 convolutions by pairs of products on AVX2, for processors without 8-bit dot products:
// exact int32 sums of a few output rows at a time.
//
// Codes after a ReLU have 7 bits: a pair of their products with weights fits the 16 bits in which
// vpmaddubsw saturates. Others are multiplied as 16 bits (vpmaddwd). oneDNN's kernels are exact
// only for the former, and only for up to 1,032 products; else they would have to take float32,
// which is half as fast. Zen 3, 1x1 and 3x3 convolutions of MobileNet-V2 and W-FTT-Net, GMAC/s: 92
// to 96 after a ReLU, 72 to 76 else; float32 30 to 45.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/aligned.h"
#include "kernels/cpu/pair_shape.h"

namespace ftt::cpu {

class PairConv {
 public:
  // Where the CPU has AVX2 and nothing better.
  static bool Available();

  // weights: [out_c][kernel][kernel][in_c]; relu: x is read as max(x, 0). Throws ftt::Error where
  // sizes are not positive.
  PairConv(const DirectShape& shape, bool relu, const int8_t* weights);

  // Scratch memory of one thread.
  struct Scratch {
    AlignedBytes staged, sums;
  };

  // x: images [in_h][in_w][in_c]. Calls take(sums, first, count) with the sums of `rows` rows of
  // out_w * out_c values at a time, counted over all images.
  template <typename Take>
  void Run(const int8_t* x, int images, int rows, Scratch& scratch, const Take& take) const {
    const int all = images * plan_.shape.out_h;
    const int64_t row = int64_t{plan_.shape.out_w} * plan_.shape.out_c;
    rows = std::min(rows, all);
    scratch.sums.Resize((rows * row + kSumSlack) * 4);
    auto* sums = scratch.sums.As<int32_t>();
    Begin(scratch);
    for (int first = 0; first < all; first += rows) {
      const int count = std::min(rows, all - first);
      Sum(x, images, first, count, scratch, sums);
      take(static_cast<const int32_t*>(sums), first, count);
    }
  }

 private:
  struct Block {
    int channel, channels;
    std::vector<int8_t> weights;
  };

  Block MakeBlock(const int8_t* weights, int channel) const;
  // Clears the padding of the staged rows.
  void Begin(Scratch& scratch) const;
  void Sum(const int8_t* x, int images, int first, int rows, Scratch& scratch, int32_t* sums) const;

  PairPlan plan_;
  bool flat_ = false;  // rows of all images are one image: 1x1 without stride and padding
  std::vector<int32_t> offsets_;
  std::vector<Block> blocks_;
};

}  // namespace ftt::cpu
