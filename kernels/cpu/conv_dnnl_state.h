// Internal: what ConvEngine, ConvWorker and PackedWeights hold.
#pragma once

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "kernels/cpu/conv_primitives.h"

namespace ftt::cpu {

struct SpecHash {
  size_t operator()(const PrimitiveSpec& spec) const;
};

struct ConvEngine::State {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  bool force_no_vnni = false;
  bool fast_bf16 = false;
  std::shared_mutex mutex;  // guards the map; a Primitive stays once it is in
  std::unordered_map<PrimitiveSpec, std::unique_ptr<Primitive>, SpecHash> primitives;

  // The primitive that decides the layout of weights for every number of images.
  const Primitive& Canonical(PrimitiveSpec spec);
  const Primitive& Get(const PrimitiveSpec& spec);
  // Whether an int8 primitive for `shape` (whatever its number of images) gives exact sums; see
  // ProbeInt8.
  bool IsExact(const Primitive& primitive, ConvShape shape, ConvWorker::State& worker) const;

 private:
  const Primitive* Find(const PrimitiveSpec& spec);
  const Primitive& Insert(const PrimitiveSpec& spec, const Primitive* like);
};

struct ConvWorker::State {
  explicit State(const dnnl::engine& engine) : engine(engine), stream(engine) {}

  // Runs a primitive on three operands; a weights operand that is packed comes as `packed` and has
  // a null pointer.
  void Run(const Primitive& primitive, std::array<void*, 3> operands,
           const dnnl::memory* packed = nullptr);
  dnnl::memory Pack(const Primitive& primitive, const void* plain);
  void Unpack(const Primitive& primitive, const float* packed, float* plain);

  dnnl::engine engine;
  dnnl::stream stream;
  ConvScratch scratchpad;  // of oneDNN
  ConvScratch internal;    // of this engine: float groups, plain weights
  ConvScratch staging;     // of callers

 private:
  struct Slot {
    std::array<dnnl::memory, 3> operands;
    dnnl::memory scratchpad;
  };
  Slot& SlotOf(const Primitive& primitive);
  std::vector<Slot> slots_;  // by Primitive::id
};

struct PackedWeights::State {
  // Input channels [first_channel, first_channel + shape.in_c) as a convolution of their own.
  struct Group {
    int first_channel = 0;
    ConvShape shape;
    dnnl::memory weights;
  };
  ConvShape shape;  // with images = 0
  bool forward = true;
  bool x_unsigned = false;                        // forward
  GradPrecision precision = GradPrecision::kF32;  // backward
  // What one primitive takes; empty where no int8 primitive is exact.
  dnnl::memory weights;
  // Forward without an exact int8 primitive: float convolutions over groups of input channels, each
  // exact, summed in int32; or plain loops where not even one channel of a group fits. Packed on
  // first use.
  std::vector<int8_t> codes;
  mutable std::once_flag groups_once;
  mutable std::vector<Group> groups;
};

// Holds OpenMP at one thread while it lives: oneDNN plans for the number of threads it sees.
class SingleThread {
 public:
  SingleThread();
  ~SingleThread();

 private:
  int previous_;
};

}  // namespace ftt::cpu
