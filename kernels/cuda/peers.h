// NVIDIA's libraries, for benchmarks to compare with and to look through. Their headers are used
// where the build finds them, the libraries themselves are looked for when a benchmark runs:
// nothing else needs them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor.h"

namespace ftt::cuda {

enum class PeerNumbers : uint8_t {
  kInt8,       // int8 times int8, saturated to int8
  kInt8Float,  // int8 times int8, as float32
  kHalf,       // half times half, added in float32, as half
};

// Convolutions of cuDNN.
class ConvolutionPeer {
 public:
  virtual ~ConvolutionPeer() = default;
  virtual std::string Name() const = 0;  // with version
  // Looks for the library's fastest algorithm for a convolution over one lane; false where it has
  // none.
  virtual bool Prepare(const WindowGeometry& geometry, bool depthwise, PeerNumbers numbers) = 0;
  // y = scale * convolution of x with w, as prepared last. x, y: [images][h][w][padded channels];
  // w: [padded out][k][k][padded in, or 1 where depthwise].
  virtual void Run(const void* x, const void* w, float scale, void* y) = 0;

  // The same for the gradient of w (`weights`) or x, all in half precision.
  virtual bool PrepareBackward(const WindowGeometry& geometry, bool depthwise, bool weights) = 0;
  // gradient = scale * what `other` (x where `weights`, else w) and the gradient of y give.
  virtual void RunBackward(const void* other, const void* grad_y, float scale, void* gradient) = 0;
};
// Null where it cannot be used; `reason` then says why.
std::unique_ptr<ConvolutionPeer> OpenCudnn(DeviceStream stream, std::string* reason);

// Matrix products of cuBLAS.
class MatrixPeer {
 public:
  virtual ~MatrixPeer() = default;
  // c = a^T * b, all [n][n], column by column; n is a multiple of 16.
  virtual void Run(int n, const int8_t* a, const int8_t* b, int32_t* c) = 0;
};
std::unique_ptr<MatrixPeer> OpenCublas(DeviceStream stream, std::string* reason);

// What the kernels that `body` starts take alone, as CUPTI sees them. body ends by waiting for the
// device. Where CUPTI cannot be used, `reason` says why and body runs all the same.
struct KernelTrace {
  double seconds = 0;  // of all kernels, added up
  int64_t kernels = 0;
  std::string reason;
};
KernelTrace TraceKernels(const std::function<void()>& body);

}  // namespace ftt::cuda
