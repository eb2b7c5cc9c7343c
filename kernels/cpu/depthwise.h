// Depthwise convolutions on one thread: exact int8 forward, float32 gradients.
//
// A map's row is treated as one line of out_w * channels values, and the weights repeat along it
// with the period of the least common multiple of channels and vector width: every lane works,
// whatever the number of channels. One implementation per instruction set is compiled in, the best
// that the CPU has is chosen at run time. Float results may differ between instruction sets in the
// order of sums; int8 results never do.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cpu/conv_scratch.h"
#include "kernels/cpu/depthwise_shape.h"
#include "kernels/cpu/depthwise_table.h"

namespace ftt::cpu {

// Packed weights of one layer and direction. Packing reuses the memory of an earlier call.
class DepthwiseWeights {
 private:
  friend class Depthwise;
  void Describe(const DepthwiseShape& shape, const DepthwiseTable& table, const void* data,
                bool forward);
  void CheckFits(const DepthwiseShape& shape, const DepthwiseTable& table, bool forward) const;

  ConvScratch memory_;
  const void* data_ = nullptr;
  const DepthwiseTable* table_ = nullptr;
  bool forward_ = false;
  int channels_ = 0, kernel_ = 0, stride_ = 0, pad_ = 0, dilation_ = 0;
};

// Every function throws ftt::Error for a shape that is inconsistent or out of range, and for
// weights packed for another layer. The number of images may differ between packing and use.
// `scratch` belongs to the calling thread.
class Depthwise {
 public:
  Depthwise();  // the best instruction set of this CPU
  explicit Depthwise(const DepthwiseTable& table) : table_(&table) {}
  // All that this CPU can run, best first.
  static std::vector<const DepthwiseTable*> Supported();

  const char* Name() const;  // of the instruction set

  void PackForward(const DepthwiseShape& shape, const int8_t* weights,
                   DepthwiseWeights& packed) const;
  // raw[n][oy][ox][c] = exact int32 sum of code products; x is read as max(x, 0) with relu.
  void Forward(const DepthwiseShape& shape, const int8_t* x, bool relu,
               const DepthwiseWeights& packed, int32_t* raw, ConvScratch& scratch) const;
  // The same a few rows of out_w * channels values at a time: `raw` has room for `rows` of them,
  // and take(first, count) is called when it holds rows [first, first + count), counted over all
  // images.
  template <typename Take>
  void ForwardRows(const DepthwiseShape& shape, const int8_t* x, bool relu,
                   const DepthwiseWeights& packed, int32_t* raw, int rows, const Take& take,
                   ConvScratch& scratch) const {
    const DepthwiseTaker taker{rows,
                               [](const void* context, int first, int count) {
                                 (*static_cast<const Take*>(context))(first, count);
                               },
                               &take};
    Forward(shape, x, relu, packed, raw, &taker, scratch);
  }

  // unit: power of two that one step of a weight code stands for.
  void PackBackwardData(const DepthwiseShape& shape, const int8_t* weights, float unit,
                        DepthwiseWeights& packed) const;
  // diff_x is overwritten.
  void BackwardData(const DepthwiseShape& shape, const float* diff_y,
                    const DepthwiseWeights& packed, float* diff_x, ConvScratch& scratch) const;

  // diff_w[channels][k][k] is overwritten with the sum over the images, in units of activation
  // codes.
  void BackwardWeights(const DepthwiseShape& shape, const int8_t* x, bool relu, const float* diff_y,
                       float* diff_w, ConvScratch& scratch) const;

 private:
  void Forward(const DepthwiseShape& shape, const int8_t* x, bool relu,
               const DepthwiseWeights& packed, int32_t* raw, const DepthwiseTaker* taker,
               ConvScratch& scratch) const;

  const DepthwiseTable* table_;
};

}  // namespace ftt::cpu
