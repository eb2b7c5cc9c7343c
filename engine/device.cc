#include "engine/device.h"

#include <fmt/format.h>

namespace ftt {
namespace {

class HostDevice final : public Device {
 public:
  explicit HostDevice(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
  std::string Name() const override { return std::string(backend_->Name()); }
  std::string Text() const override { return fmt::format("{}, {} threads", Name(), Threads()); }
  int Threads() const override { return backend_->Threads(); }
  double ConvolutionSeconds() const override { return backend_->ConvolutionSeconds(); }
  std::unique_ptr<TrainExecutor> NewTrainExecutor(ParamStore& params, const InputCoding& coding,
                                                  const TrainExecutorOptions& options) override {
    return MakeTrainExecutor(*backend_, params, coding, options);
  }
  std::unique_ptr<DeployExecutor> NewDeployExecutor(const DeployModel& model) override {
    return MakeDeployExecutor(*backend_, model);
  }

 private:
  std::unique_ptr<Backend> backend_;
};

}  // namespace

std::unique_ptr<Device> MakeHostDevice(std::unique_ptr<Backend> backend) {
  return std::make_unique<HostDevice>(std::move(backend));
}

}  // namespace ftt
