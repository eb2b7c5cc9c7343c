#include "engine/cuda/cuda_device.h"

#include "core/error.h"
#include "engine/cuda/cuda_deploy.h"
#include "engine/cuda/cuda_train.h"
#include "engine/cuda/memory_check.h"
#include "kernels/cuda/runtime.h"

namespace ftt {
namespace {

constexpr int kLeastCapability = 80;  // bfloat16 tensor cores, cp.async

class CudaDevice final : public Device {
 public:
  CudaDevice(int number, const CudaOptions& options)
      : info_(cuda::QueryDevice(number)), number_(number), options_(options) {
    FTT_CHECK(info_.capability >= kLeastCapability,
              "CUDA device {} ({}) has compute capability {}.{}; {}.{} or more is needed", number,
              info_.name, info_.capability / 10, info_.capability % 10, kLeastCapability / 10,
              kLeastCapability % 10);
    cuda::SelectDevice(number);
  }
  std::string Name() const override { return "cuda"; }
  std::string Text() const override {
    return fmt::format("cuda, device {}: {}", number_, info_.name);
  }
  bool LeavesHostIdle() const override { return true; }
  void CheckMemory(const DeviceWork& work) const override { cuda::CheckFreeMemory(work); }
  std::unique_ptr<TrainExecutor> NewTrainExecutor(ParamStore& params, const InputCoding& coding,
                                                  const TrainExecutorOptions& options) override {
    return std::make_unique<cuda::CudaTrainExecutor>(params, coding, options, options_.graphs);
  }
  std::unique_ptr<DeployExecutor> NewDeployExecutor(const DeployModel& model) override {
    return std::make_unique<cuda::CudaDeployExecutor>(model, options_.graphs);
  }

 private:
  cuda::DeviceInfo info_;
  int number_;
  CudaOptions options_;
};

}  // namespace

std::unique_ptr<Device> MakeCudaDevice(int number, const CudaOptions& options) {
  return std::make_unique<CudaDevice>(number, options);
}

}  // namespace ftt
