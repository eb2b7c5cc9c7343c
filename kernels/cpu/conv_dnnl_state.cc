#include "kernels/cpu/conv_dnnl_state.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <mutex>

namespace ftt::cpu {
namespace {

using dnnl::memory;

// Large enough that oneDNN chooses what it would choose for a batch.
constexpr int kCanonicalImages = 8;

int FirstDim(const memory::desc& desc) {
#if DNNL_VERSION_MAJOR >= 3
  return static_cast<int>(desc.get_dims()[0]);
#else
  return static_cast<int>(desc.dims()[0]);
#endif
}

bool TapValid(int tap, int out, int in, const ConvShape& s) {
  const int at = out * s.stride - s.pad + tap * s.dilation;
  return at >= 0 && at < in;
}

int ValidTaps(int out, int in, const ConvShape& s) {
  int count = 0;
  for (int k = 0; k < s.kernel; ++k) count += TapValid(k, out, in, s);
  return count;
}

// The tap that falls inside the map for the most outputs.
int CommonTap(int out_size, int in, const ConvShape& s) {
  int best = 0, best_count = -1;
  for (int k = 0; k < s.kernel; ++k) {
    int count = 0;
    for (int out = 0; out < out_size; ++out) count += TapValid(k, out, in, s);
    if (count > best_count) best = k;
    best_count = std::max(best_count, count);
  }
  return best;
}

// Convolves the constant 127 with weights of -128 but for one -127, whose sums are known in closed
// form. The pair sums overflow 16 bits in a kernel without 8-bit dot products, an odd weight does
// not survive being halved, and the odd total of more than 1,032 products does not survive a pass
// through float: the three ways of oneDNN to be inexact.
bool ProbeInt8(const Primitive& primitive, const ConvShape& s, ConvWorker::State& worker) {
  const std::vector<int8_t> x(s.InElements(), 127);
  std::vector<int8_t> weights(s.WeightElements(), -128);
  const int odd_y = CommonTap(s.out_h, s.in_h, s), odd_x = CommonTap(s.out_w, s.in_w, s);
  const size_t per_output = s.WeightElements() / static_cast<size_t>(s.out_c);
  for (size_t i = 0; i < weights.size(); i += per_output) {  // plain [out][in][h][w]
    weights[i + static_cast<size_t>(odd_y) * s.kernel + odd_x] = -127;
  }
  std::vector<int32_t> sums(s.OutElements());
  const memory packed = worker.Pack(primitive, weights.data());
  worker.Run(primitive, {const_cast<int8_t*>(x.data()), nullptr, sums.data()}, &packed);
  size_t i = 0;
  for (int n = 0; n < s.images; ++n) {
    for (int oy = 0; oy < s.out_h; ++oy) {
      for (int ox = 0; ox < s.out_w; ++ox) {
        const int taps = ValidTaps(oy, s.in_h, s) * ValidTaps(ox, s.in_w, s);
        const bool odd = TapValid(odd_y, oy, s.in_h, s) && TapValid(odd_x, ox, s.in_w, s);
        const int32_t expected = taps * (s.in_c / s.groups) * (127 * -128) + (odd ? 127 : 0);
        for (int c = 0; c < s.out_c; ++c) {
          if (sums[i++] != expected) return false;
        }
      }
    }
  }
  return true;
}

}  // namespace

size_t SpecHash::operator()(const PrimitiveSpec& spec) const {
  const ConvShape& s = spec.shape;
  uint64_t hash = 0xcbf29ce484222325u;
  for (int v : {s.images, s.in_h, s.in_w, s.in_c, s.out_h, s.out_w, s.out_c, s.kernel, s.stride,
                s.pad, s.dilation, s.groups, static_cast<int>(spec.kind), static_cast<int>(spec.in),
                static_cast<int>(spec.weight), static_cast<int>(spec.out)}) {
    hash = (hash ^ static_cast<uint32_t>(v)) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  return hash;
}

const Primitive* ConvEngine::State::Find(const PrimitiveSpec& spec) {
  const std::shared_lock lock(mutex);
  const auto it = primitives.find(spec);
  return it == primitives.end() ? nullptr : it->second.get();
}

const Primitive& ConvEngine::State::Insert(const PrimitiveSpec& spec, const Primitive* like) {
  const SingleThread single;
  const std::unique_lock lock(mutex);
  std::unique_ptr<Primitive>& entry = primitives[spec];
  if (entry == nullptr) {
    try {
      auto built = BuildPrimitive(engine, spec, like);
      built->id = static_cast<int>(primitives.size()) - 1;
      entry = std::move(built);
    } catch (...) {
      primitives.erase(spec);
      throw;
    }
  }
  return *entry;
}

const Primitive& ConvEngine::State::Canonical(PrimitiveSpec spec) {
  spec.shape.images = kCanonicalImages;
  if (const Primitive* found = Find(spec)) return *found;
  return Insert(spec, nullptr);
}

const Primitive& ConvEngine::State::Get(const PrimitiveSpec& spec) {
  if (const Primitive* found = Find(spec)) return *found;
  const Primitive& canonical = Canonical(spec);
  return spec.shape.images == kCanonicalImages ? canonical : Insert(spec, &canonical);
}

bool ConvEngine::State::IsExact(const Primitive& primitive, ConvShape shape,
                                ConvWorker::State& worker) const {
  if (force_no_vnni) return false;
  if (primitive.exact == Primitive::Exact::kUnknown) {
    shape.images = FirstDim(primitive.descs[0]);
    const bool exact = ProbeInt8(primitive, shape, worker);
    primitive.exact = exact ? Primitive::Exact::kYes : Primitive::Exact::kNo;
  }
  return primitive.exact == Primitive::Exact::kYes;
}

ConvWorker::State::Slot& ConvWorker::State::SlotOf(const Primitive& primitive) {
  const auto id = static_cast<size_t>(primitive.id);
  if (id >= slots_.size()) slots_.resize(id + 1);
  Slot& slot = slots_[id];
  if (!slot.operands[0]) {
    for (size_t i = 0; i < 3; ++i)
      slot.operands[i] = memory(primitive.descs[i], engine, DNNL_MEMORY_NONE);
    slot.scratchpad = memory(primitive.scratchpad, engine, DNNL_MEMORY_NONE);
  }
  return slot;
}

void ConvWorker::State::Run(const Primitive& primitive, std::array<void*, 3> operands,
                            const memory* packed) {
  const SingleThread single;
  Slot& slot = SlotOf(primitive);
  std::array<dnnl_exec_arg_t, 4> args;
  for (size_t i = 0; i < 3; ++i) {
    if (operands[i] != nullptr) slot.operands[i].set_data_handle(operands[i]);
    args[i] = {primitive.args[i], operands[i] != nullptr ? slot.operands[i].get() : packed->get()};
  }
  slot.scratchpad.set_data_handle(scratchpad.Get(primitive.scratchpad.get_size()));
  args[3] = {DNNL_ARG_SCRATCHPAD, slot.scratchpad.get()};
  dnnl::error::wrap_c_api(
      dnnl_primitive_execute(primitive.primitive.get(), stream.get(), 4, args.data()),
      "could not execute a convolution");
}

memory ConvWorker::State::Pack(const Primitive& primitive, const void* plain) {
  const SingleThread single;
  const memory from(primitive.plain_weights, engine, const_cast<void*>(plain));
  memory to(primitive.descs[1], engine);
  memory scratch(primitive.reorder_scratchpad, engine,
                 scratchpad.Get(primitive.reorder_scratchpad.get_size()));
  primitive.reorder.execute(
      stream, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, scratch}});
  return to;
}

void ConvWorker::State::Unpack(const Primitive& primitive, const float* packed, float* plain) {
  const SingleThread single;
  // Not through memory's constructor with a handle: that would write zeros into the padding of the
  // const input.
  memory from(primitive.descs[2], engine, DNNL_MEMORY_NONE);
  from.set_data_handle(const_cast<float*>(packed));
  memory to(primitive.plain_weights, engine, plain);
  memory scratch(primitive.reorder_scratchpad, engine,
                 scratchpad.Get(primitive.reorder_scratchpad.get_size()));
  primitive.reorder.execute(
      stream, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, scratch}});
}

#ifdef _OPENMP
SingleThread::SingleThread() : previous_(omp_get_max_threads()) {
  if (previous_ != 1) omp_set_num_threads(1);
}
SingleThread::~SingleThread() {
  if (previous_ != 1) omp_set_num_threads(previous_);
}
#else
SingleThread::SingleThread() : previous_(1) {}
SingleThread::~SingleThread() = default;
#endif

}  // namespace ftt::cpu
