#include "kernels/cuda/peers.h"

#include <fmt/format.h>

#ifdef FTT_WITH_CUDNN

#include <cudnn.h>

#include <array>

#include "core/error.h"
#include "kernels/cuda/library.h"
#include "kernels/cuda/runtime.h"

namespace ftt::cuda {
namespace {

// The calls that are used, under their own names.
struct Cudnn {
  Library loaded{"libcudnn.so.9", "libcudnn.so"};
#define FTT_CUDNN_CALL(name) decltype(&::cudnn##name) name = nullptr
  FTT_CUDNN_CALL(Create);
  FTT_CUDNN_CALL(Destroy);
  FTT_CUDNN_CALL(SetStream);
  FTT_CUDNN_CALL(GetVersion);
  FTT_CUDNN_CALL(GetErrorString);
  FTT_CUDNN_CALL(CreateTensorDescriptor);
  FTT_CUDNN_CALL(SetTensor4dDescriptor);
  FTT_CUDNN_CALL(CreateFilterDescriptor);
  FTT_CUDNN_CALL(SetFilter4dDescriptor);
  FTT_CUDNN_CALL(CreateConvolutionDescriptor);
  FTT_CUDNN_CALL(SetConvolution2dDescriptor);
  FTT_CUDNN_CALL(SetConvolutionGroupCount);
  FTT_CUDNN_CALL(SetConvolutionMathType);
  FTT_CUDNN_CALL(FindConvolutionForwardAlgorithm);
  FTT_CUDNN_CALL(ConvolutionForward);
  FTT_CUDNN_CALL(FindConvolutionBackwardDataAlgorithm);
  FTT_CUDNN_CALL(ConvolutionBackwardData);
  FTT_CUDNN_CALL(FindConvolutionBackwardFilterAlgorithm);
  FTT_CUDNN_CALL(ConvolutionBackwardFilter);
#undef FTT_CUDNN_CALL

  Cudnn() {
#define FTT_CUDNN_FIND(name) loaded.Find("cudnn" #name, &name)
    FTT_CUDNN_FIND(Create);
    FTT_CUDNN_FIND(Destroy);
    FTT_CUDNN_FIND(SetStream);
    FTT_CUDNN_FIND(GetVersion);
    FTT_CUDNN_FIND(GetErrorString);
    FTT_CUDNN_FIND(CreateTensorDescriptor);
    FTT_CUDNN_FIND(SetTensor4dDescriptor);
    FTT_CUDNN_FIND(CreateFilterDescriptor);
    FTT_CUDNN_FIND(SetFilter4dDescriptor);
    FTT_CUDNN_FIND(CreateConvolutionDescriptor);
    FTT_CUDNN_FIND(SetConvolution2dDescriptor);
    FTT_CUDNN_FIND(SetConvolutionGroupCount);
    FTT_CUDNN_FIND(SetConvolutionMathType);
    FTT_CUDNN_FIND(FindConvolutionForwardAlgorithm);
    FTT_CUDNN_FIND(ConvolutionForward);
    FTT_CUDNN_FIND(FindConvolutionBackwardDataAlgorithm);
    FTT_CUDNN_FIND(ConvolutionBackwardData);
    FTT_CUDNN_FIND(FindConvolutionBackwardFilterAlgorithm);
    FTT_CUDNN_FIND(ConvolutionBackwardFilter);
#undef FTT_CUDNN_FIND
  }
};

class CudnnPeer final : public ConvolutionPeer {
 public:
  CudnnPeer(Cudnn calls, DeviceStream stream) : cudnn_(std::move(calls)) {
    Check(cudnn_.Create(&handle_), "start");
    Check(cudnn_.SetStream(handle_, stream), "take the stream");
    Check(cudnn_.CreateTensorDescriptor(&x_), "describe the input");
    Check(cudnn_.CreateTensorDescriptor(&y_), "describe the output");
    Check(cudnn_.CreateFilterDescriptor(&w_), "describe the weights");
    Check(cudnn_.CreateConvolutionDescriptor(&convolution_), "describe a convolution");
  }
  CudnnPeer(const CudnnPeer&) = delete;
  CudnnPeer& operator=(const CudnnPeer&) = delete;
  ~CudnnPeer() override { cudnn_.Destroy(handle_); }  // the process ends soon after

  std::string Name() const override {
    const size_t version = cudnn_.GetVersion();
    return fmt::format("cuDNN {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
  }

  bool Prepare(const WindowGeometry& g, bool depthwise, PeerNumbers numbers) override {
    Describe(g, depthwise, numbers);
    std::array<cudnnConvolutionFwdAlgoPerf_t, CUDNN_CONVOLUTION_FWD_ALGO_COUNT> found{};
    int count = 0;
    const cudnnStatus_t status = cudnn_.FindConvolutionForwardAlgorithm(
        handle_, x_, w_, convolution_, y_, static_cast<int>(found.size()), &count, found.data());
    return Take(status, count, found[0], &algorithm_);
  }

  void Run(const void* x, const void* w, float scale, void* y) override {
    const float zero = 0;
    Check(cudnn_.ConvolutionForward(handle_, &scale, x_, x, w_, w, convolution_, algorithm_,
                                    workspace_.Data(), workspace_bytes_, &zero, y_, y),
          "convolution");
  }

  bool PrepareBackward(const WindowGeometry& g, bool depthwise, bool weights) override {
    Describe(g, depthwise, PeerNumbers::kHalf);
    weights_ = weights;
    int count = 0;
    if (weights) {
      std::array<cudnnConvolutionBwdFilterAlgoPerf_t, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT>
          found{};
      const cudnnStatus_t status = cudnn_.FindConvolutionBackwardFilterAlgorithm(
          handle_, x_, y_, convolution_, w_, static_cast<int>(found.size()), &count, found.data());
      return Take(status, count, found[0], &weight_algorithm_);
    }
    std::array<cudnnConvolutionBwdDataAlgoPerf_t, CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT> found{};
    const cudnnStatus_t status = cudnn_.FindConvolutionBackwardDataAlgorithm(
        handle_, w_, y_, convolution_, x_, static_cast<int>(found.size()), &count, found.data());
    return Take(status, count, found[0], &data_algorithm_);
  }

  void RunBackward(const void* other, const void* grad_y, float scale, void* gradient) override {
    const float zero = 0;
    if (weights_) {
      Check(cudnn_.ConvolutionBackwardFilter(handle_, &scale, x_, other, y_, grad_y, convolution_,
                                             weight_algorithm_, workspace_.Data(), workspace_bytes_,
                                             &zero, w_, gradient),
            "gradient of the weights");
      return;
    }
    Check(cudnn_.ConvolutionBackwardData(handle_, &scale, w_, other, y_, grad_y, convolution_,
                                         data_algorithm_, workspace_.Data(), workspace_bytes_,
                                         &zero, x_, gradient),
          "gradient of the input");
  }

 private:
  void Describe(const WindowGeometry& g, bool depthwise, PeerNumbers numbers) {
    const int in = PaddedChannels(g.in_channels), out = PaddedChannels(g.out_channels);
    const bool half = numbers == PeerNumbers::kHalf;
    const cudnnDataType_t operand = half ? CUDNN_DATA_HALF : CUDNN_DATA_INT8;
    const cudnnDataType_t result = numbers == PeerNumbers::kInt8Float ? CUDNN_DATA_FLOAT : operand;
    Check(
        cudnn_.SetTensor4dDescriptor(x_, CUDNN_TENSOR_NHWC, operand, g.images, in, g.in_h, g.in_w),
        "describe the input");
    Check(cudnn_.SetTensor4dDescriptor(y_, CUDNN_TENSOR_NHWC, result, g.images, out, g.out_h,
                                       g.out_w),
          "describe the output");
    Check(cudnn_.SetFilter4dDescriptor(w_, operand, CUDNN_TENSOR_NHWC, out, depthwise ? 1 : in,
                                       g.kernel, g.kernel),
          "describe the weights");
    Check(cudnn_.SetConvolution2dDescriptor(convolution_, -g.origin, -g.origin, g.stride, g.stride,
                                            g.dilation, g.dilation, CUDNN_CROSS_CORRELATION,
                                            half ? CUDNN_DATA_FLOAT : CUDNN_DATA_INT32),
          "describe a convolution");
    Check(cudnn_.SetConvolutionGroupCount(convolution_, depthwise ? in : 1), "set groups");
    Check(cudnn_.SetConvolutionMathType(convolution_, CUDNN_TENSOR_OP_MATH), "use tensor cores");
  }

  // What a search found, the fastest first.
  template <typename Found, typename Algorithm>
  bool Take(cudnnStatus_t status, int count, const Found& found, Algorithm* algorithm) {
    if (status != CUDNN_STATUS_SUCCESS || count == 0 || found.status != CUDNN_STATUS_SUCCESS)
      return false;
    *algorithm = found.algo;
    Check(cudnn_.SetConvolutionMathType(convolution_, found.mathType), "use tensor cores");
    workspace_.Resize(static_cast<int64_t>(found.memory));
    workspace_bytes_ = found.memory;
    return true;
  }

  void Check(cudnnStatus_t status, const char* what) const {
    FTT_CHECK(status == CUDNN_STATUS_SUCCESS, "cuDNN: {}: {}", what, cudnn_.GetErrorString(status));
  }

  Cudnn cudnn_;
  cudnnHandle_t handle_ = nullptr;
  cudnnTensorDescriptor_t x_ = nullptr, y_ = nullptr;
  cudnnFilterDescriptor_t w_ = nullptr;
  cudnnConvolutionDescriptor_t convolution_ = nullptr;
  cudnnConvolutionFwdAlgo_t algorithm_ = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
  cudnnConvolutionBwdDataAlgo_t data_algorithm_ = CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
  cudnnConvolutionBwdFilterAlgo_t weight_algorithm_ = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
  bool weights_ = false;
  DeviceMemory workspace_;
  size_t workspace_bytes_ = 0;
};

}  // namespace

std::unique_ptr<ConvolutionPeer> OpenCudnn(DeviceStream stream, std::string* reason) {
  Cudnn calls;
  *reason = calls.loaded.Missing();
  if (!reason->empty()) return nullptr;
  try {
    return std::make_unique<CudnnPeer>(std::move(calls), stream);
  } catch (const Error& error) {  // it is there, but does not fit the driver, for example
    *reason = error.what();
    return nullptr;
  }
}

}  // namespace ftt::cuda

#else

namespace ftt::cuda {

std::unique_ptr<ConvolutionPeer> OpenCudnn(DeviceStream, std::string* reason) {
  *reason = "built without cuDNN's headers";
  return nullptr;
}

}  // namespace ftt::cuda

#endif
