// Gradients of dense convolutions in float32 on AVX2: where products are summed in float32 anyway,
// at the rate of the processor's multipliers.
//
// oneDNN 2.6 reaches 35 to 60 % of that rate in weight gradients and 45 to 85 % in data gradients
// of convolutions with 16 to 160 channels.
#pragma once

#include <cstdint>
#include <vector>

#include "core/aligned.h"
#include "kernels/cpu/conv_dnnl.h"
#include "kernels/cpu/dense_gradient_avx2.h"

namespace ftt::cpu {

// Scratch memory of one thread.
struct DenseScratch {
  AlignedBytes x, rows;
};

// Where the CPU has AVX2 and nothing better.
bool DenseGradientsAvailable();

// shape.images is ignored by both; groups must be 1. Both throw ftt::Error where sizes are not
// positive.
class DenseWeightGradient {
 public:
  explicit DenseWeightGradient(const ConvShape& shape);

  // x: codes [images][in_h][in_w][in_c], read as max(x, 0) with `relu`; diff_y: [images][out_h]
  // [out_w][out_c]; diff_w (overwritten): as many floats as the weights, in an order of its own, so
  // that those of several calls can be added element by element before they are unpacked.
  void Run(const int8_t* x, bool relu, int images, const float* diff_y, float* diff_w,
           DenseScratch& scratch) const;
  // Adds `unit` times elements [first, last) of diff_w to grad_w [out_c][kernel][kernel][in_c], but
  // where `keep` (same order, nullable) is 0. first: a multiple of PieceUnit(); so is last, or it
  // is the end.
  void AddTo(const float* diff_w, int64_t first, int64_t last, float unit, const uint8_t* keep,
             float* grad_w) const;
  // Threads that add pieces of multiples of it do not write to the same cache lines.
  int64_t PieceUnit() const;

 private:
  // Pixels of diff_y that are worked on at a time: whole images, or rows of one; those of a flat
  // convolution lie in one row.
  struct Block {
    int image, images, row, rows, width;
  };

  template <typename Convert>
  void Stage(const int8_t* x, const Block& block, int64_t pixel, float* to,
             const Convert& convert) const;
  void RunByOutputs(const int8_t* x, bool relu, const Block& block, const float* diff_y, bool add,
                    float* diff_w, DenseScratch& scratch) const;
  void RunByTaps(const int8_t* x, bool relu, const Block& block, const float* diff_y, bool add,
                 float* diff_w, DenseScratch& scratch) const;
  PixelSteps Staged(const Block& block, int64_t pixel) const;
  int StagedRows(int rows) const;

  ConvShape shape_;
  bool flat_;     // 1x1 without stride and padding: pixels of all images are one row
  bool by_taps_;  // tiles are a row of taps by output channels, else output by input channels
  int staged_w_;  // pixels of a staged row, padding included
};

class DenseDataGradient {
 public:
  // weights: codes [out_c][kernel][kernel][in_c]; unit: power of two that one step stands for.
  DenseDataGradient(const ConvShape& shape, const int8_t* weights, float unit);

  // diff_x (overwritten) of `images` images from diff_y, both NHWC.
  void Run(const float* diff_y, int images, float* diff_x, DenseScratch& scratch) const;

 private:
  // Input pixels that see the same taps: those of one remainder by the stride.
  struct Phase {
    int y, x;                      // first of them
    int height, width;             // how many
    int run;                       // floats of a segment of taps
    std::vector<int32_t> offsets;  // of the segments, from the staged pixel of the input
    AlignedBytes weights;          // as DataRows wants them
  };

  void AddPhase(int y, int x, const int8_t* weights, float unit);
  void Stage(const float* diff_y, int first, int count, float* to) const;

  ConvShape shape_;
  bool flat_;
  int pad_, ahead_;  // pixels of diff_y that an input sees before and behind its own
  int staged_w_;     // pixels of a staged row, padding included
  std::vector<Phase> phases_;
};

}  // namespace ftt::cpu
