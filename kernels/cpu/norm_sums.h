// Internal to the CPU backend: the sums over a map that its batch norm's backward pass needs.
#pragma once

#include <vector>

#include "core/aligned.h"
#include "kernels/backend.h"
#include "kernels/cpu/elementwise.h"

namespace ftt::cpu {

// The share of one image of a mask with rows of MaskBytes(n), or null.
inline const uint8_t* MaskRow(const uint8_t* mask, int64_t image, int64_t n) {
  return mask == nullptr ? nullptr : mask + image * MaskBytes(n);
}

// Sums task by task, in any order and on any thread; the total is taken in the tasks' order.
class NormSummer {
 public:
  // of: acc, norms and mask of a map with batch norm. memory: of the tasks' sums, must live on.
  NormSummer(const Elementwise& ops, int lanes, const Shape& shape, const NormSums& of,
             size_t tasks, AlignedBytes& memory);

  // grad: of these images; they are counted over all lanes. narrow (nullable): gets the masked
  // gradient as bfloat16.
  void Add(size_t task, int lane, int64_t first_image, int images, const float* grad,
           uint16_t* narrow);
  void Finish(const std::vector<int>& task_lanes, NormSums& to) const;

 private:
  const Elementwise& ops_;
  int64_t n_;
  size_t channels_, period_;
  const NormSums& of_;
  std::vector<float> xscale_, xshift_;  // [lanes][period]: xhat = fma(acc, xscale, xshift)
  double* partial_;                     // [tasks][2][period]: of g, of g * xhat
};

}  // namespace ftt::cpu
