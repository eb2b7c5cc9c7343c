// Internal: the depthwise kernels of one instruction set, as plain function pointers.
//
// The files that implement a table are compiled with instruction-set options of their own. They
// must not emit inline functions that other files emit too (the linker might keep the copy that an
// older CPU cannot run), so this border has only raw pointers and plain structs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ftt::cpu {

struct DepthwiseShape;

// Who takes the output a few rows at a time: `raw` then has room for `rows` rows of out_w *
// channels values, and take(context, first, count) is told when it holds rows [first, first +
// count), counted over all images.
struct DepthwiseTaker {
  int rows;
  void (*take)(const void* context, int first, int count);
  const void* context;
};

struct DepthwiseTable {
  const char* name;
  // Bytes of packed weights, and of 64-byte-aligned scratch memory, that the functions below need.
  size_t (*forward_weight_bytes)(const DepthwiseShape&);
  size_t (*forward_scratch_bytes)(const DepthwiseShape&);
  size_t (*backward_data_weight_bytes)(const DepthwiseShape&);
  size_t (*backward_data_scratch_bytes)(const DepthwiseShape&);
  size_t (*backward_weights_scratch_bytes)(const DepthwiseShape&);

  void (*pack_forward)(const DepthwiseShape&, const int8_t* weights, void* packed);
  // taker: null where raw has room for everything.
  void (*forward)(const DepthwiseShape&, const int8_t* x, bool relu, const void* packed,
                  int32_t* raw, const DepthwiseTaker* taker, void* scratch);
  void (*pack_backward_data)(const DepthwiseShape&, const int8_t* weights, float unit,
                             void* packed);
  void (*backward_data)(const DepthwiseShape&, const float* diff_y, const void* packed,
                        float* diff_x, void* scratch);
  void (*backward_weights)(const DepthwiseShape&, const int8_t* x, bool relu, const float* diff_y,
                           float* diff_w, void* scratch);
};

extern const DepthwiseTable kDepthwiseBase;
#if defined(__x86_64__)
extern const DepthwiseTable kDepthwiseAvx2;
extern const DepthwiseTable kDepthwiseAvx512;
extern const DepthwiseTable kDepthwiseAvx512Vnni;
#endif

}  // namespace ftt::cpu
