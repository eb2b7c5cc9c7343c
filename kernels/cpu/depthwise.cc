#include "kernels/cpu/depthwise.h"

#include "core/error.h"
#include "kernels/cpu/depthwise_table.h"

namespace ftt::cpu {
namespace {

constexpr int kMaxKernel = 5, kMaxStride = 2;

void Check(const DepthwiseShape& s) {
  const auto fail = [&](const char* what) {
    Fail(
        "depthwise convolution {}x{}x{}x{} -> {}x{}, kernel {}, stride {}, pad {}, dilation {}: {}",
        s.images, s.in_h, s.in_w, s.channels, s.out_h, s.out_w, s.kernel, s.stride, s.pad,
        s.dilation, what);
  };
  if (s.images < 1 || s.in_h < 1 || s.in_w < 1 || s.out_h < 1 || s.out_w < 1 || s.channels < 1 ||
      s.pad < 0 || s.dilation < 1) {
    fail("sizes must be positive");
  }
  if (s.kernel < 1 || s.kernel > kMaxKernel) fail("the kernel size must be 1..5");
  if (s.stride < 1 || s.stride > kMaxStride) fail("the stride must be 1 or 2");
  const auto fits = [&](int in, int out) { return (out - 1) * s.stride - s.pad < in; };
  if (s.pad > s.dilation * (s.kernel - 1) || !fits(s.in_h, s.out_h) || !fits(s.in_w, s.out_w)) {
    fail("the output size or padding reaches outside the input; check the shape");
  }
}

}  // namespace

std::vector<const DepthwiseTable*> Depthwise::Supported() {
  std::vector<const DepthwiseTable*> tables;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  if (avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi2")) {
    tables.push_back(&kDepthwiseAvx512Vnni);
  }
  if (avx512) tables.push_back(&kDepthwiseAvx512);
  if (avx2) tables.push_back(&kDepthwiseAvx2);
#endif
  tables.push_back(&kDepthwiseBase);
  return tables;
}

Depthwise::Depthwise() : table_(Supported().front()) {}

const char* Depthwise::Name() const { return table_->name; }

void Depthwise::PackForward(const DepthwiseShape& shape, const int8_t* weights,
                            DepthwiseWeights& packed) const {
  Check(shape);
  void* data = packed.memory_.Get(table_->forward_weight_bytes(shape));
  table_->pack_forward(shape, weights, data);
  packed.Describe(shape, *table_, data, /*forward=*/true);
}

void Depthwise::Forward(const DepthwiseShape& shape, const int8_t* x, bool relu,
                        const DepthwiseWeights& packed, int32_t* raw, ConvScratch& scratch) const {
  Forward(shape, x, relu, packed, raw, nullptr, scratch);
}

void Depthwise::Forward(const DepthwiseShape& shape, const int8_t* x, bool relu,
                        const DepthwiseWeights& packed, int32_t* raw, const DepthwiseTaker* taker,
                        ConvScratch& scratch) const {
  Check(shape);
  packed.CheckFits(shape, *table_, /*forward=*/true);
  FTT_CHECK(taker == nullptr || taker->rows > 0, "depthwise convolution: no rows at a time");
  table_->forward(shape, x, relu, packed.data_, raw, taker,
                  scratch.Get(table_->forward_scratch_bytes(shape)));
}

void Depthwise::PackBackwardData(const DepthwiseShape& shape, const int8_t* weights, float unit,
                                 DepthwiseWeights& packed) const {
  Check(shape);
  void* data = packed.memory_.Get(table_->backward_data_weight_bytes(shape));
  table_->pack_backward_data(shape, weights, unit, data);
  packed.Describe(shape, *table_, data, /*forward=*/false);
}

void Depthwise::BackwardData(const DepthwiseShape& shape, const float* diff_y,
                             const DepthwiseWeights& packed, float* diff_x,
                             ConvScratch& scratch) const {
  Check(shape);
  packed.CheckFits(shape, *table_, /*forward=*/false);
  table_->backward_data(shape, diff_y, packed.data_, diff_x,
                        scratch.Get(table_->backward_data_scratch_bytes(shape)));
}

void Depthwise::BackwardWeights(const DepthwiseShape& shape, const int8_t* x, bool relu,
                                const float* diff_y, float* diff_w, ConvScratch& scratch) const {
  Check(shape);
  table_->backward_weights(shape, x, relu, diff_y, diff_w,
                           scratch.Get(table_->backward_weights_scratch_bytes(shape)));
}

void DepthwiseWeights::Describe(const DepthwiseShape& s, const DepthwiseTable& table,
                                const void* data, bool forward) {
  data_ = data;
  table_ = &table;
  forward_ = forward;
  channels_ = s.channels;
  kernel_ = s.kernel;
  stride_ = s.stride;
  pad_ = s.pad;
  dilation_ = s.dilation;
}

void DepthwiseWeights::CheckFits(const DepthwiseShape& s, const DepthwiseTable& table,
                                 bool forward) const {
  FTT_CHECK(table_ == &table && forward_ == forward && channels_ == s.channels &&
                kernel_ == s.kernel && stride_ == s.stride && pad_ == s.pad &&
                dilation_ == s.dilation,
            "depthwise convolution of {} channels, kernel {}: the packed weights are of another "
            "layer or direction; "
            "pack them for this one",
            s.channels, s.kernel);
}

}  // namespace ftt::cpu
