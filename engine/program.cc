#include "engine/program.h"

#include "core/error.h"

namespace ftt {
namespace {

int OutputSize(int input, const ConvParams& p) {
  const int reach = p.dilation * (p.kernel - 1) + 1;
  return (input + 2 * p.pad - reach) / p.stride + 1;
}

class Fnv {
 public:
  void Add(int64_t v) {
    for (int i = 0; i < 8; ++i) Byte(static_cast<uint8_t>(v >> (8 * i)));
  }
  void Add(const std::string& s) {
    Add(static_cast<int64_t>(s.size()));
    for (const char ch : s) Byte(static_cast<uint8_t>(ch));
  }
  uint64_t Value() const { return hash_; }

 private:
  void Byte(uint8_t b) { hash_ = (hash_ ^ b) * 0x100000001B3ull; }
  uint64_t hash_ = 0xCBF29CE484222325ull;
};

}  // namespace

int64_t ParamInfo::Elements() const {
  int64_t n = 1;
  for (const int extent : shape) n *= extent;
  return n;
}

int64_t Program::ParamCount() const {
  int64_t n = 0;
  for (const ParamInfo& p : params) n += p.Trained() ? p.Elements() : 0;
  return n;
}

int64_t Program::MacsPerOutput(const Op& op) const {
  if (op.kind == OpKind::kLinear) return params[static_cast<size_t>(op.weight)].shape[1];
  if (op.kind != OpKind::kConv) return 0;
  const int in_c = values[static_cast<size_t>(op.inputs[0].value)].c;
  return int64_t{op.conv.kernel} * op.conv.kernel * in_c / op.conv.groups;
}

int64_t Program::MultiplyAdds() const {
  int64_t n = 0;
  for (const Op& op : ops)
    n += MacsPerOutput(op) * values[static_cast<size_t>(op.output)].Elements();
  return n;
}

std::string Program::ShortName() const {
  constexpr size_t kMost = 48;
  return network.size() <= kMost ? network : network.substr(0, kMost) + "...";
}

uint64_t Program::Hash() const {
  Fnv hash;
  hash.Add(classes);
  for (const Shape& s : values) {
    for (const int v : {s.h, s.w, s.c}) hash.Add(v);
  }
  for (const ParamInfo& p : params) {
    hash.Add(p.name);
    for (const int v : p.shape) hash.Add(v);
  }
  for (const Op& op : ops) {
    hash.Add(op.name);
    for (const OpInput& in : op.inputs) hash.Add(in.value * 2 + (in.relu ? 1 : 0));
    for (const int v :
         {static_cast<int>(op.kind), op.output, op.conv.kernel, op.conv.stride, op.conv.pad,
          op.conv.dilation, op.conv.groups, op.conv.offset, static_cast<int>(op.pool),
          op.batch_norm ? 1 : 0, op.weight, op.bias, op.gamma, op.beta}) {
      hash.Add(v);
    }
  }
  return hash.Value();
}

ProgramBuilder::ProgramBuilder(std::string network, Shape input, int classes) {
  FTT_CHECK(input.h > 0 && input.w > 0 && input.c > 0, "network {}: empty input image", network);
  FTT_CHECK(classes >= 2, "network {}: needs at least 2 classes, got {}", network, classes);
  program_.network = std::move(network);
  program_.classes = classes;
  program_.values.push_back(input);
}

Op& ProgramBuilder::Append(OpKind kind, const std::string& name, Shape output) {
  FTT_CHECK(output.h > 0 && output.w > 0 && output.c > 0,
            "network {}: op {} would have an empty output; the input images are too small",
            program_.network, name);
  Op op;
  op.kind = kind;
  op.name = name;
  op.output = static_cast<int>(program_.values.size());
  program_.values.push_back(output);
  program_.ops.push_back(std::move(op));
  return program_.ops.back();
}

int ProgramBuilder::Param(const std::string& name, ParamKind kind, std::vector<int> shape) {
  program_.params.push_back({name, kind, std::move(shape)});
  return static_cast<int>(program_.params.size()) - 1;
}

void ProgramBuilder::BatchNorm(Op& op, int channels, bool affine) {
  op.batch_norm = true;
  const std::string bn = op.name + ".bn";
  if (affine) {
    op.gamma = Param(bn + ".gamma", ParamKind::kGamma, {channels});
    op.beta = Param(bn + ".beta", ParamKind::kBeta, {channels});
  }
  op.running_mean = Param(bn + ".mean", ParamKind::kRunningMean, {channels});
  op.running_var = Param(bn + ".var", ParamKind::kRunningVar, {channels});
}

int ProgramBuilder::Conv(const std::string& name, int input, int out_c, const ConvOptions& o) {
  const Shape in = ShapeOf(input);
  const int channels = o.depthwise ? in.c : out_c;
  ConvParams p{o.kernel,
               o.stride,
               o.pad < 0 ? o.dilation * (o.kernel - 1) / 2 : o.pad,
               o.dilation,
               o.depthwise ? in.c : 1,
               o.offset};
  Op& op = Append(OpKind::kConv, name, {OutputSize(in.h, p), OutputSize(in.w, p), channels});
  op.inputs = {{input, o.relu}};
  op.conv = p;
  op.weight = Param(name + ".weight", ParamKind::kConvWeight,
                    {channels, o.kernel, o.kernel, in.c / p.groups});
  if (o.bias) op.bias = Param(name + ".bias", ParamKind::kBias, {channels});
  if (o.batch_norm) BatchNorm(op, channels, o.affine);
  return op.output;
}

int ProgramBuilder::Pool(const std::string& name, PoolKind kind, int input, const PoolOptions& o) {
  const Shape in = ShapeOf(input);
  ConvParams p{o.kernel, o.stride, o.pad, 1, 1, 0};
  Op& op = Append(OpKind::kPool, name, {OutputSize(in.h, p), OutputSize(in.w, p), in.c});
  op.inputs = {{input, o.relu}};
  op.conv = p;
  op.pool = kind;
  if (o.batch_norm) BatchNorm(op, in.c, o.affine);
  return op.output;
}

int ProgramBuilder::Add(const std::string& name, const std::vector<OpInput>& inputs,
                        Shape shape_if_empty) {
  FTT_CHECK(inputs.size() <= 2, "network {}: op {} adds {} maps; at most 2 are supported",
            program_.network, name, inputs.size());
  const Shape shape = inputs.empty() ? shape_if_empty : ShapeOf(inputs[0].value);
  for (const OpInput& in : inputs) {
    FTT_CHECK(ShapeOf(in.value) == shape, "network {}: op {} adds maps of different shapes",
              program_.network, name);
  }
  Op& op = Append(OpKind::kAdd, name, shape);
  op.inputs = inputs;
  return op.output;
}

int ProgramBuilder::Concat(const std::string& name, const std::vector<OpInput>& inputs) {
  FTT_CHECK(!inputs.empty(), "network {}: op {} concatenates nothing", program_.network, name);
  Shape shape = ShapeOf(inputs[0].value);
  shape.c = 0;
  for (const OpInput& in : inputs) {
    const Shape& part = ShapeOf(in.value);
    FTT_CHECK(part.h == shape.h && part.w == shape.w,
              "network {}: op {} concatenates maps of different sizes", program_.network, name);
    shape.c += part.c;
  }
  Op& op = Append(OpKind::kConcat, name, shape);
  op.inputs = inputs;
  return op.output;
}

int ProgramBuilder::GlobalPool(const std::string& name, OpInput input) {
  Op& op = Append(OpKind::kGlobalPool, name, {1, 1, ShapeOf(input.value).c});
  op.inputs = {input};
  return op.output;
}

int ProgramBuilder::Linear(const std::string& name, int input) {
  const int in = static_cast<int>(ShapeOf(input).Elements());
  Op& op = Append(OpKind::kLinear, name, {1, 1, program_.classes});
  op.inputs = {{input, false}};
  op.weight = Param(name + ".weight", ParamKind::kLinearWeight, {program_.classes, in});
  op.bias = Param(name + ".bias", ParamKind::kBias, {program_.classes});
  return op.output;
}

Program ProgramBuilder::Finish() && {
  FTT_CHECK(!program_.ops.empty() && program_.ops.back().kind == OpKind::kLinear,
            "network {}: the last op must be the classifier", program_.network);
  return std::move(program_);
}

}  // namespace ftt
