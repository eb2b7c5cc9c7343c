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
  void Read();
  std::vector<std::string> Entries();

  std::string paths_;
  std::map<std::string, Kernel> kernels_;
  std::vector<std::string> texts_;  // of the files, read once
};

// What ran of each kernel, source line by source line, as text; `all`: the names of the kernels
// that there are, of which some may never have been launched.
std::string Profile(const std::map<std::string, Kernel>& kernels,
                    const std::vector<std::string>& all);

}  // namespace ftt::ptx
