// Kernels of input.h.
#pragma once

#include "core/philox.h"
#include "kernels/cuda/faults.cuh"
#include "kernels/cuda/input.h"
#include "kernels/quantize_math.h"

namespace ftt::cuda {

inline constexpr int kInputThreads = 256;
inline constexpr int kLogitThreads = 64;

// The pixel of the set that output (x, y) of an image shows; null: black.
__device__ __forceinline__ const uint8_t* SourcePixel(const EncodeArguments& a, int image, int x,
                                                      int y) {
  const MapShape& s = a.shape;
  const int64_t index = a.indices == nullptr ? image : a.indices[image];
  if (a.moves != nullptr) {
    const ImageMoves m = a.moves[image];
    x = (m.mirror != 0 ? s.w - 1 - x : x) + m.dx;
    y += m.dy;
    const bool inside = x >= 0 && x < s.w && y >= 0 && y < s.h;
    if (!inside && !a.reflect) return nullptr;
    x = ReflectedPlace(x, s.w);
    y = ReflectedPlace(y, s.h);
  }
  return a.pixels + ((index * s.h + y) * s.w + x) * s.channels;
}

// A thread writes the 16 codes of one pixel on every lane.
__global__ void __launch_bounds__(kInputThreads) EncodeKernel(FTT_IN_PLACE EncodeArguments a) {
  StartKernel();
  const MapShape& s = a.shape;
  const int pixel = static_cast<int>(blockIdx.x * kInputThreads + threadIdx.x);
  if (pixel >= s.Pixels()) return;
  const int image = pixel / s.MapPixels(), at = pixel - image * s.MapPixels();
  const int y = at / s.w, x = at - y * s.w;
  bool cut = false;
  if (a.moves != nullptr && a.cutout > 0) {
    const int left = a.moves[image].cut_x - a.cutout / 2, top = a.moves[image].cut_y - a.cutout / 2;
    cut = x >= left && x < left + a.cutout && y >= top && y < top + a.cutout;
  }
  const uint8_t* from = cut ? a.fill : SourcePixel(a, image, x, y);
  uint32_t word = 0;
  for (int c = 0; c < s.channels; ++c) {
    const int code = a.table[c * 256 + (from == nullptr ? 0 : from[c])];
    word |= (static_cast<uint32_t>(code) & 0xFF) << 8 * c;
  }
  for (int lane = 0; lane < s.lanes; ++lane) {
    *reinterpret_cast<uint4*>(a.codes + lane * s.LaneElements() + int64_t{pixel} * s.Stride()) =
        make_uint4(word, 0, 0, 0);
  }
}

// A thread draws four features of one image.
__global__ void __launch_bounds__(kInputThreads) DropoutKernel(DropoutArguments a) {
  StartKernel();
  const int blocks = DivideUp(a.features, 4);
  const int at = static_cast<int>(blockIdx.x * kInputThreads + threadIdx.x);
  if (at >= a.images * blocks) return;
  const int image = at / blocks, block = at - image * blocks;
  const PhiloxCounter draws = Philox({{static_cast<uint32_t>(block), *a.step, a.image_ids[image],
                                       static_cast<uint32_t>(Stream::kDropout) << 24}},
                                     a.seed);
  for (int i = 0; i < 4 && 4 * block + i < a.features; ++i) {
    const float uniform = static_cast<float>(draws.v[i] >> 8) * 0x1p-24f;
    a.keep[int64_t{image} * a.features + 4 * block + i] =
        static_cast<uint8_t>(uniform >= a.probability ? 1 : 0);
  }
}

__global__ void __launch_bounds__(32) LaneUnitsKernel(UnitArguments a) {
  StartKernel();
  const int weight = a.weight_exponent == nullptr ? 0 : *a.weight_exponent;
  for (int lane = static_cast<int>(threadIdx.x); lane < a.lanes; lane += kWarpSize)
    a.unit[lane] = a.scale * PowerOfTwo(a.x_exponent[lane] + weight);
}

// 2^e exactly, also below the smallest normal number.
__device__ inline float ScaleByPower(float v, int e) {
  const int half = e / 2;
  return v * PowerOfTwo(half) * PowerOfTwo(e - half);
}

// A block per image and lane. A logit that is hit is read as a code with the exponent that the
// image's largest logit gives.
__global__ void __launch_bounds__(kLogitThreads, 4) LogitFaultKernel(LogitFaultArguments a) {
  StartKernel();
  const int lane = static_cast<int>(blockIdx.y), image = static_cast<int>(blockIdx.x);
  const LaneFaultSteps& faults = a.faults.lanes[lane];
  if (faults.count == 0) return;
  float* logits = a.logits + (int64_t{lane} * a.images + image) * a.classes;
  FTT_SHARED(int, exponent);
  FTT_SHARED(int, finite);
  if (threadIdx.x == 0) {
    float largest = 1e-5f;
    finite = 1;
    for (int i = 0; i < a.classes; ++i) {
      const float v = fabsf(logits[i]);
      if (!(v <= 3.4028234e38f)) finite = 0;
      largest = fmaxf(largest, v);
    }
    exponent = ExponentFor(largest, a.bits);
  }
  SyncThreads();
  if (finite == 0) return;
  const int padded = RoundUp(a.classes, 16);
  auto* codes = reinterpret_cast<int8_t*>(SharedMemory());
  int8_t* clean = codes + padded;
  auto* scratch = reinterpret_cast<uint32_t*>(clean + padded);
  const auto high = static_cast<float>(CodeMax(a.bits)), low = static_cast<float>(CodeMin(a.bits));
  for (int i = static_cast<int>(threadIdx.x); i < a.classes; i += kLogitThreads) {
    const float code = rintf(ScaleByPower(logits[i], -exponent));
    clean[i] = codes[i] = static_cast<int8_t>(fminf(fmaxf(code, low), high));
  }
  ClearFaultScratch(scratch, a.faults.collects);
  SyncThreads();
  const CodeTile tile{codes, nullptr, padded, image, 1, 1, image, a.classes, 0, a.classes};
  InjectTile<FaultUse::kFeatures>(faults, a.faults.image_ids, tile, scratch, a.faults.collects);
  for (int i = static_cast<int>(threadIdx.x); i < a.classes; i += kLogitThreads) {
    if (codes[i] != clean[i]) logits[i] = ScaleByPower(codes[i], exponent);
  }
}

}  // namespace ftt::cuda
