// Internal: what ConvEngine, ConvWorker and PackedWeights hold.
#pragma once

#include <functional>
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
  std::shared_mutex mutex;  // guards the two maps; a Primitive never changes once it is in
  std::unordered_map<PrimitiveSpec, std::unique_ptr<Primitive>, SpecHash> primitives;
  std::unordered_map<PrimitiveSpec, bool, SpecHash> exact;

  // The primitive that decides the layout of weights for every number of images.
  const Primitive& Canonical(PrimitiveSpec spec);
  const Primitive& Get(const PrimitiveSpec& spec);
  // Whether oneDNN's int8 convolution gives exact sums here (see int8_probe in conv_dnnl_state.cc).
  bool Int8IsExact(PrimitiveSpec spec, ConvWorker::State& worker);

 private:
  const Primitive* Find(const PrimitiveSpec& spec);
  const Primitive& Insert(const PrimitiveSpec& spec, const Primitive* like);
};

struct ConvWorker::State {
  explicit State(const dnnl::engine& engine) : engine(engine), stream(engine) {}

  // Runs a primitive on three operands; a weights operand that is packed comes as `packed` and has a null pointer.
  void Run(const Primitive& primitive, std::array<void*, 3> operands, const dnnl::memory* packed = nullptr);
  dnnl::memory Pack(const Primitive& primitive, const void* plain);
  void Unpack(const Primitive& primitive, const float* packed, float* plain);

  dnnl::engine engine;
  dnnl::stream stream;
  ConvScratch scratchpad;  // of oneDNN
  ConvScratch staging;     // of everything else

 private:
  struct Slot {
    std::array<dnnl::memory, 3> operands;
    dnnl::memory scratchpad;
  };
  Slot& SlotOf(const Primitive& primitive);
  std::vector<Slot> slots_;  // by Primitive::id
};

struct PackedWeights::State {
  enum class Method {
    kInt8,         // one oneDNN int8 convolution
    kF32Groups,    // float convolutions over groups of input channels, each exact, summed in int32
    kLoops,        // plain loops: grouped convolutions whose groups are too large for one exact float sum
    kBackward,     // transposed convolution
    kFlipped,      // the same as a forward convolution with mirrored weights
  };
  struct Part {
    int first_channel = 0;
    ConvShape shape;  // what the part's primitive computes
    dnnl::memory weights;
  };
  Method method = Method::kInt8;
  ConvShape shape;  // with images = 0
  bool x_unsigned = false;
  GradPrecision precision = GradPrecision::kF32;
  std::vector<Part> parts;
  std::vector<int8_t> codes;  // kLoops
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
