// How long oneDNN alone takes for a network's convolutions: what benchmarks compare whole passes
// with.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace ftt::cpu {

class PrimitiveTimer {
 public:
  // threads: that many run each primitive at the same time, each on operands of its own, as the
  // threads of the pass that is compared do; at least 1.
  explicit PrimitiveTimer(int threads);
  ~PrimitiveTimer();
  PrimitiveTimer(const PrimitiveTimer&) = delete;
  PrimitiveTimer& operator=(const PrimitiveTimer&) = delete;

  // Seconds that a thread spends inside oneDNN's own primitives for `images` images: the forward
  // one (int8 where it is exact on this processor, else float32), and its gradients in the
  // backend's precision. Operands are there already, nothing is packed, converted or quantized.
  // Depthwise convolutions are oneDNN's too, although the backend has kernels of its own for them.
  // The mean of a few calls on all threads, of the better of two sizes of a call: all images, or as
  // many as a task of a training step has. Equal shapes are timed once in a round.
  double Forward(const WindowShape& shape, int images);
  double WeightGradient(const WindowShape& shape, int images);
  double DataGradient(const WindowShape& shape, int images);
  // Times all anew from now on.
  void StartRound();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ftt::cpu
