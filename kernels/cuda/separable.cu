#include "kernels/cuda/separable.h"

#include "core/error.h"
#include "kernels/cuda/multiprocessors.h"
#include "kernels/cuda/separable.cuh"

namespace ftt::cuda {
namespace {

// Codes of a band in which every thread has 4 channels of 4 x 4 outputs.
constexpr int kBandCodes = kSeparableThreads * 64;

bool Narrow(const WindowGeometry& pointwise) { return pointwise.Out().Stride() <= 32; }

bool Follows(const WindowGeometry& d, const WindowGeometry& p) {
  const bool first = d.in_channels == d.out_channels && (d.kernel == 3 || d.kernel == 5) &&
                     (d.stride == 1 || d.stride == 2) && (d.dilation == 1 || d.dilation == 2);
  const bool second =
      p.IsPointwise() && p.in_h == d.out_h && p.in_w == d.out_w && p.in_channels == d.out_channels;
  return first && second && d.lanes == p.lanes && d.images == p.images;
}

template <int kWarpN>
void LaunchSeparable(const SeparableArguments& a, int rows, DeviceStream stream) {
  const MapShape middle = a.depthwise.geometry.Out();
  const WindowOutput& out = a.pointwise.out;
  const int shared = MiddleLayout(middle, rows).bytes +
                     SeparableWorkBytes<kWarpN>(a.depthwise.out.faults, out.faults);
  const GridSize grid{static_cast<unsigned>(DivideUp(middle.h, rows)),
                      static_cast<unsigned>(middle.images), static_cast<unsigned>(middle.lanes)};
  LaunchKernel("Separable", &SeparableKernel<kWarpN>, grid, kSeparableThreads,
               static_cast<size_t>(shared), stream, a,
               BandPlan(middle, rows, DepthwiseColumns(a.depthwise.geometry)));
}

}  // namespace

int SeparableRows(const WindowGeometry& d, const WindowGeometry& p) {
  if (!Follows(d, p)) return 0;
  const MapShape middle = d.Out();
  // The same rows whatever the faults are: room for those that take most.
  const LaneFaultSteps some;
  const SiteFaultsView most{&some, nullptr, true, {}};
  const int room = kGrantedBytes - (Narrow(p) ? SeparableWorkBytes<32>(most, most)
                                              : SeparableWorkBytes<64>(most, most));
  int rows = kBandRows;
  while (rows < middle.h && rows * middle.w * middle.Stride() < kBandCodes) rows *= 2;
  if (rows > middle.h) rows = middle.h;
  while (rows > 0 && MiddleLayout(middle, rows).bytes > room) rows /= 2;
  return rows;
}

bool FusesSeparable(const WindowGeometry& d, const WindowGeometry& p) {
  // A block saves writing and reading a code per pixel and channel between the convolutions, and
  // reads all weights for its pixels alone.
  return p.Out().Stride() <= 2 * SeparableRows(d, p) * d.out_w;
}

void Separable(const SeparableArguments& a, DeviceStream stream) {
  const WindowGeometry &d = a.depthwise.geometry, &p = a.pointwise.geometry;
  FTT_CHECK(d.lanes > 0 && d.images > 0 && d.out_h > 0 && d.out_w > 0, "separable: empty map");
  const int rows = SeparableRows(d, p);
  FTT_CHECK(rows > 0,
            "separable: {} channels of rows of {} pixels do not fit in one kernel, or the 1x1 "
            "convolution does not follow the depthwise one; run Depthwise and Conv instead",
            d.out_channels, d.out_w);
  FTT_CHECK(a.pointwise.out.codes != nullptr, "separable: the result is codes");
  Narrow(p) ? LaunchSeparable<32>(a, rows, stream) : LaunchSeparable<64>(a, rows, stream);
}

}  // namespace ftt::cuda
