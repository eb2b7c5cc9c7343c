// A device that runs PTX, in place of the driver: what the CUDA runtime of this folder (cudart.cc)
// is made of.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/ptx/launch.h"
#include "tests/ptx/program.h"

namespace ftt::ptx {

struct Kernel {
  Program program;
  std::vector<Count> counts;
  int64_t launches = 0;
};

class Device {
 public:
  // `paths`: of PTX files, with colons between.
  explicit Device(std::string paths) : paths_(std::move(paths)) {}
  // Writes the profile, if one is wanted.
  ~Device();

  // The kernel of that (mangled) name. Throws where there is none.
  Kernel& Find(const std::string& name);
  void Launch(Kernel* kernel, const LaunchSize& size, const std::vector<uint8_t>& parameters);

 private:
  std::string paths_;
  std::map<std::string, Kernel> kernels_;
  std::vector<std::string> texts_;  // of the files, read once
};

// Lines "kernel", then the source lines that cost most, as text.
std::string Profile(const std::map<std::string, Kernel>& kernels);

}  // namespace ftt::ptx
