// Where networks run: the host, through a backend, or a GPU.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/deploy.h"
#include "engine/train_executor.h"

namespace ftt {

// What a run is going to keep in a device's memory.
struct TrainingWork {
  std::vector<Program> programs;  // one at a time; the parameters of all of them stay
  TrainExecutorOptions options;
  int batch = 0;
  std::vector<LaneSpec> lanes;          // of a step
  std::vector<LaneSpec> forward_lanes;  // of runs without a backward pass; may be empty
  bool adam = false;
  const ImageSet* images = nullptr;  // TrainBatch::source
};
struct DeploymentWork {
  Program program;
  int bits = 8;
  int batch = 0, lanes = 0;
  const FaultSpec* faults = nullptr;  // of every lane; null: none
  const SiteFilter* sites = nullptr;  // null: everywhere
};
struct DeviceWork {
  std::string what;  // for the message, e.g. "training of resnet-20"
  std::optional<TrainingWork> training;
  std::vector<DeploymentWork> deployments;  // one at a time, beside the training
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string Name() const = 0;  // as --backend takes it
  virtual std::string Text() const = 0;  // for people, e.g. "cpu, 2 threads"
  virtual int Threads() const { return 1; }
  // Whether it works beside the host's threads, not on them.
  virtual bool LeavesHostIdle() const { return false; }
  // Seconds that all threads together have spent inside convolution kernels alone, for benchmarks;
  // 0 where not measured.
  virtual double ConvolutionSeconds() const { return 0; }
  // Throws ftt::Error where the device has not enough free memory; the message says what would
  // need less. The host never does.
  virtual void CheckMemory(const DeviceWork&) const {}
  // params, model and the device must outlive the executors.
  virtual std::unique_ptr<TrainExecutor> NewTrainExecutor(ParamStore& params,
                                                          const InputCoding& coding,
                                                          const TrainExecutorOptions& options) = 0;
  virtual std::unique_ptr<DeployExecutor> NewDeployExecutor(const DeployModel& model) = 0;
};

std::unique_ptr<Device> MakeHostDevice(std::unique_ptr<Backend> backend);

}  // namespace ftt
