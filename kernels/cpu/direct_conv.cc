#include "kernels/cpu/direct_conv.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

#if defined(__x86_64__) && defined(__linux__) && defined(FTT_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ftt::cpu {
namespace {

// Sums of the rows worked on at a time: they share the first-level cache with the staged image, the
// weights and the codes. ResNet-20, Sapphire Rapids (48 KiB): 4.43 ms with 24 KiB, 4.38 with
// 14, 4.24 with 8.
constexpr int64_t kAccBytes = 10 << 10;
// Above this the weights, which are read once for every 32 pixels, leave the first-level cache, and
// oneDNN's blocking over many images wins.
constexpr int64_t kMostWeightBytes = 48 << 10;

#if defined(__x86_64__) && defined(__linux__) && defined(FTT_AMX)
bool DetectAmx() {
  constexpr uint32_t kTile = 1u << 24, kInt8 = 1u << 25;  // leaf 7, edx
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTile) == 0 || (d & kInt8) == 0)
    return false;
  if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#else
bool DetectAmx() { return false; }
#endif

int Reach(const DirectShape& s, int outputs) {
  return (outputs - 1) * s.stride + s.dilation * (s.kernel - 1) + 1;
}

// Bytes of the filter that lie next to each other in the map: a row of taps, or one dilated tap.
int SegmentBytes(const DirectShape& s) { return s.dilation == 1 ? s.kernel * s.in_c : s.in_c; }
int Segments(const DirectShape& s) { return s.dilation == 1 ? s.kernel : s.kernel * s.kernel; }

DirectPlan MakePlan(const DirectShape& s) {
  DirectPlan plan;
  plan.shape = s;
  plan.staged_h = Reach(s, s.out_h);
  plan.staged_w = Reach(s, s.out_w);
  const int segment = SegmentBytes(s), pieces = (segment + 63) / 64;
  plan.part_bytes = ((segment + pieces - 1) / pieces + 3) / 4 * 4;
  plan.parts = Segments(s) * ((segment + plan.part_bytes - 1) / plan.part_bytes);
  plan.blocks = (s.out_c + 15) / 16;
  const int whole_tiles = (s.out_w + kTilePixels - 1) / kTilePixels * kTilePixels;
  plan.flat = s.stride == 1 && plan.staged_w <= whole_tiles;
  plan.row_pixels = plan.flat ? plan.staged_w : whole_tiles;
  plan.block_rows = static_cast<int>(
      std::clamp<int64_t>(kAccBytes / (int64_t{4} * plan.row_pixels * s.out_c), 1, s.out_h));
  return plan;
}

int64_t WeightBytes(const DirectPlan& plan) {
  return int64_t{plan.blocks} * plan.parts * plan.part_bytes * 16;
}

}  // namespace

bool DirectConv::Available() {
  static const bool available = DetectAmx();
  return available;
}

bool DirectConv::Suits(const DirectShape& s) {
  return WeightBytes(MakePlan(s)) <= kMostWeightBytes;
}

DirectConv::DirectConv(const DirectShape& s, const int8_t* weights) : plan_(MakePlan(s)) {
  FTT_CHECK(std::min({s.in_h, s.in_w, s.in_c, s.out_h, s.out_w, s.out_c, s.kernel, s.stride,
                      s.dilation}) > 0,
            "direct convolution {}x{}x{} -> {}x{}x{}, kernel {}: sizes must be positive", s.in_h,
            s.in_w, s.in_c, s.out_h, s.out_w, s.out_c, s.kernel);
  const int segments = Segments(s), segment = SegmentBytes(s), width = plan_.part_bytes;
  const int pieces = plan_.parts / segments, filter = s.kernel * s.kernel * s.in_c;
  for (int g = 0; g < segments; ++g) {
    const int y = s.dilation == 1 ? g : g / s.kernel, x = s.dilation == 1 ? 0 : g % s.kernel;
    for (int piece = 0; piece < pieces; ++piece) {
      offsets_.push_back((int64_t{y} * s.dilation * plan_.staged_w + int64_t{x} * s.dilation) *
                             s.in_c +
                         piece * width);
    }
  }
  weights_.Resize(WeightBytes(plan_));
  auto* to = weights_.As<int8_t>();
  std::memset(to, 0, static_cast<size_t>(WeightBytes(plan_)));
  for (int o = 0; o < s.out_c; ++o) {
    for (int part = 0; part < plan_.parts; ++part) {
      const int first = part % pieces * width, count = std::min(width, segment - first);
      const int8_t* from = weights + int64_t{o} * filter + part / pieces * segment + first;
      int8_t* tile = to + (int64_t{o / 16} * plan_.parts + part) * width * 16 + o % 16 * 4;
      for (int i = 0; i < count; ++i) tile[i / 4 * 64 + i % 4] = from[i];
    }
  }
}

#ifdef FTT_AMX
DirectConv::Session::Session(const DirectPlan& plan) { DirectBeginAmx(plan, &previous_); }
DirectConv::Session::~Session() { DirectEndAmx(previous_); }
#else
DirectConv::Session::Session(const DirectPlan&) {}
DirectConv::Session::~Session() = default;
#endif

void DirectConv::Stage(const int8_t* x, bool relu, Scratch& scratch) const {
#ifdef FTT_AMX
  const DirectShape& s = plan_.shape;
  // A last tile may lie almost wholly behind the image.
  const int64_t bytes = int64_t{plan_.staged_h} * plan_.staged_w * s.in_c +
                        int64_t{kTilePixels} * s.stride * s.in_c + kDirectSlack;
  scratch.staged.Resize(bytes);
  if (scratch.shape != s) std::memset(scratch.staged.Data(), 0, static_cast<size_t>(bytes));
  scratch.shape = s;
  DirectStageAmx(plan_, x, relu, scratch.staged.As<int8_t>());
#endif
}

const int32_t* DirectConv::Block(int first_row, int rows, Scratch& scratch) const {
  const int64_t pixels = int64_t{rows} * plan_.row_pixels + kTilePixels;
  scratch.acc.Resize(pixels * plan_.shape.out_c * 4 + kDirectSlack);
#ifdef FTT_AMX
  DirectRowsAmx(plan_, offsets_.data(), weights_.As<int8_t>(), scratch.staged.As<int8_t>(),
                first_row, rows, scratch.acc.As<int32_t>());
#endif
  return scratch.acc.As<int32_t>();
}

}  // namespace ftt::cpu
