// Where networks run: the host, through a backend, or a GPU.
#pragma once

#include <memory>
#include <string>

#include "engine/deploy.h"
#include "engine/train_executor.h"

namespace ftt {

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string Name() const = 0;  // as --backend takes it
  virtual std::string Text() const = 0;  // for people, e.g. "cpu, 2 threads"
  virtual int Threads() const { return 1; }
  // Seconds that all threads together have spent inside convolution kernels alone, for benchmarks;
  // 0 where not measured.
  virtual double ConvolutionSeconds() const { return 0; }
  // params, model and the device must outlive the executors.
  virtual std::unique_ptr<TrainExecutor> NewTrainExecutor(ParamStore& params,
                                                          const InputCoding& coding,
                                                          const TrainExecutorOptions& options) = 0;
  virtual std::unique_ptr<DeployExecutor> NewDeployExecutor(const DeployModel& model) = 0;
};

std::unique_ptr<Device> MakeHostDevice(std::unique_ptr<Backend> backend);

}  // namespace ftt
