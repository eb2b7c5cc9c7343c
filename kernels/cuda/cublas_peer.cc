#include "kernels/cuda/peers.h"

#ifdef FTT_WITH_CUBLAS

#include <cublas_v2.h>

#include "core/error.h"
#include "kernels/cuda/library.h"

namespace ftt::cuda {
namespace {

struct Cublas {
  Library loaded{"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
  decltype(&::cublasCreate_v2) create = nullptr;
  decltype(&::cublasDestroy_v2) destroy = nullptr;
  decltype(&::cublasSetStream_v2) set_stream = nullptr;
  decltype(&::cublasGetStatusString) text = nullptr;
  cublasStatus_t (*multiply)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                             const void*, const void*, cudaDataType, int, const void*, cudaDataType,
                             int, const void*, void*, cudaDataType, int, cublasComputeType_t,
                             cublasGemmAlgo_t) = nullptr;
  Cublas() {
    loaded.Find("cublasCreate_v2", &create);
    loaded.Find("cublasDestroy_v2", &destroy);
    loaded.Find("cublasSetStream_v2", &set_stream);
    loaded.Find("cublasGetStatusString", &text);
    loaded.Find("cublasGemmEx", &multiply);
  }
};

class CublasPeer final : public MatrixPeer {
 public:
  CublasPeer(Cublas calls, DeviceStream stream) : cublas_(std::move(calls)) {
    Check(cublas_.create(&handle_), "start");
    Check(cublas_.set_stream(handle_, stream), "take the stream");
  }
  CublasPeer(const CublasPeer&) = delete;
  CublasPeer& operator=(const CublasPeer&) = delete;
  ~CublasPeer() override { cublas_.destroy(handle_); }

  void Run(int n, const int8_t* a, const int8_t* b, int32_t* c) override {
    const int32_t one = 1, zero = 0;
    Check(cublas_.multiply(handle_, CUBLAS_OP_T, CUBLAS_OP_N, n, n, n, &one, a, CUDA_R_8I, n, b,
                           CUDA_R_8I, n, &zero, c, CUDA_R_32I, n, CUBLAS_COMPUTE_32I,
                           CUBLAS_GEMM_DEFAULT),
          "matrix product");
  }

 private:
  void Check(cublasStatus_t status, const char* what) const {
    FTT_CHECK(status == CUBLAS_STATUS_SUCCESS, "cuBLAS: {}: {}", what, cublas_.text(status));
  }

  Cublas cublas_;
  cublasHandle_t handle_ = nullptr;
};

}  // namespace

std::unique_ptr<MatrixPeer> OpenCublas(DeviceStream stream, std::string* reason) {
  Cublas calls;
  *reason = calls.loaded.Missing();
  if (!reason->empty()) return nullptr;
  try {
    return std::make_unique<CublasPeer>(std::move(calls), stream);
  } catch (const Error& error) {  // it is there, but does not fit the driver, for example
    *reason = error.what();
    return nullptr;
  }
}

}  // namespace ftt::cuda

#else

namespace ftt::cuda {

std::unique_ptr<MatrixPeer> OpenCublas(DeviceStream, std::string* reason) {
  *reason = "built without cuBLAS's headers";
  return nullptr;
}

}  // namespace ftt::cuda

#endif
