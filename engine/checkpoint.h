// Parameters, optimizer state and calibration in safetensors files.
#pragma once

#include <string>

#include "core/tensor_file.h"
#include "engine/deploy.h"
#include "engine/network_spec.h"
#include "engine/params.h"

namespace ftt {

// Adds all parameters under their names and, when wanted, the optimizer's state under
// "optimizer.*/NAME".
void AddParams(const ParamStore& params, bool optimizer_state, TensorFile& file);
// Reads every parameter (and optimizer state) of a file into the store, creating what is missing.
void ReadParams(const TensorFile& file, ParamStore& params);

// A trained network, ready to be evaluated: parameters, calibrated exponents, input coding,
// description.
struct TrainedNetwork {
  NetworkSpec spec;
  DeployModel model;
  std::string data;    // data set it was trained on
  std::string faults;  // canonical fault specification of its training, empty without
};

void AddDeployment(const NetworkSpec& spec, const DeployModel& model, const std::string& data,
                   const std::string& faults, TensorFile& file);
// path: a safetensors file, a checkpoint folder, or a run folder (its latest checkpoint). Throws
// ftt::Error when it cannot be read, is damaged, or is not a trained network.
TrainedNetwork LoadTrained(const std::string& path);

// Puts the parameters of a trained network, with its running statistics and without its optimizer's
// state, into the store: where a fine-tuning begins. Throws ftt::Error as LoadTrained does, and
// when the network is not that of `program`.
void ReadPretrained(const std::string& path, const Program& program, ParamStore& params);

inline constexpr char kStateFile[] = "state.safetensors";

// The state file that `path` stands for, as in LoadTrained.
std::string FindStateFile(const std::string& path);

}  // namespace ftt
