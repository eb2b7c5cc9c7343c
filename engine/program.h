// A network as a flat list of ops over numbered values: the only description of topology in the
// project.
//
// A value is a feature map in the feature buffer: 8-bit codes in NHWC order (no padding) and one
// exponent per lane. Ops are in execution order; op i writes exactly one new value, so values are
// numbered in the order in which they appear. Value 0 is the network's input image. Values are
// stored before any ReLU; a consumer that wants max(x, 0) says so on its input, because ReLU costs
// nothing when it is applied on load.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ftt {

struct Shape {
  int h = 0, w = 0, c = 0;
  int64_t Elements() const { return int64_t{h} * w * c; }
  friend bool operator==(const Shape&, const Shape&) = default;
};

enum class OpKind {
  kConv,        // optional bias or batch norm; dense (groups 1) or depthwise (groups = channels)
  kPool,        // max or average, optional batch norm
  kAdd,         // sum of one or two inputs; of none: zeros
  kConcat,      // along channels
  kGlobalPool,  // mean over the map: [h, w, c] -> [1, 1, c]
  kLinear,      // classifier: codes -> float logits; always the last op
};

enum class PoolKind { kMax, kAverage };

enum class ParamKind {
  kConvWeight,    // [out_c, k, k, in_c / groups], quantized
  kLinearWeight,  // [out, in], quantized
  kBias,          // [c]
  kGamma,         // [c], batch-norm scale
  kBeta,          // [c], batch-norm shift
  kRunningMean,   // [c], not trained
  kRunningVar,    // [c], not trained
};

struct ParamInfo {
  std::string name;  // unique; the key in checkpoints and, in a supernet, what sub-networks share
  ParamKind kind;
  std::vector<int> shape;
  int64_t Elements() const;
  bool Trained() const { return kind != ParamKind::kRunningMean && kind != ParamKind::kRunningVar; }
};

struct OpInput {
  int value = 0;
  bool relu = false;
};

struct ConvParams {
  int kernel = 1, stride = 1, pad = 0, dilation = 1, groups = 1;
  int offset =
      0;  // first output pixel reads input pixel (offset - pad); only factorized reduce uses 1
};

struct Op {
  OpKind kind = OpKind::kConv;
  std::string name;  // unique in the program, e.g. "cell3.n4.e1.dw1"
  std::vector<OpInput> inputs;
  int output = 0;   // value number
  ConvParams conv;  // kConv; for kPool: kernel, stride, pad
  PoolKind pool = PoolKind::kMax;
  bool batch_norm = false;
  // Indices into Program::params, -1 where absent. Running statistics exist where batch_norm holds.
  int weight = -1, bias = -1, gamma = -1, beta = -1, running_mean = -1, running_var = -1;
};

struct Program {
  std::string network;  // name or genotype, for messages and checkpoints
  int classes = 0;
  float dropout = 0;  // on the classifier's input, training only
  std::vector<Shape> values;
  std::vector<ParamInfo> params;
  std::vector<Op> ops;

  const Shape& InputShape() const { return values[0]; }
  int64_t ParamCount() const;    // trained parameters
  int64_t MultiplyAdds() const;  // convolutions and the classifier, per image
  // Multiply-adds that feed one output of op (a mibb site's M): k * k * in_c / groups; the input
  // count for kLinear; 0 for other ops.
  int64_t MacsPerOutput(const Op& op) const;
  std::string ShortName() const;  // the network's, for messages; a long genotype is cut
  uint64_t Hash()
      const;  // FNV-1a over everything above; two programs with one hash take the same checkpoints
};

// Builds programs: each call appends an op (and its parameters) and returns the number of its
// output value. Parameter names are `name + ".weight"`, ".bias", ".bn.gamma", ".bn.beta",
// ".bn.mean", ".bn.var". Throws ftt::Error on shapes that do not fit.
class ProgramBuilder {
 public:
  ProgramBuilder(std::string network, Shape input, int classes);

  struct ConvOptions {
    int kernel = 1, stride = 1;
    int pad = -1;  // -1: "same", i.e. dilation * (kernel - 1) / 2
    int dilation = 1;
    int offset = 0;
    bool depthwise = false;  // groups = channels; out_c is then ignored
    bool relu = false;       // on load
    bool bias = false;
    bool batch_norm = true;
    bool affine = true;  // batch norm has gamma and beta
  };
  int Conv(const std::string& name, int input, int out_c, const ConvOptions& options);
  struct PoolOptions {
    int kernel = 3, stride = 1;
    int pad = 1;
    bool relu = false;
    bool batch_norm = false, affine = true;
  };
  int Pool(const std::string& name, PoolKind kind, int input, const PoolOptions& options);
  int Add(const std::string& name, const std::vector<OpInput>& inputs, Shape shape_if_empty = {});
  int Concat(const std::string& name, const std::vector<OpInput>& inputs);
  int GlobalPool(const std::string& name, OpInput input);
  int Linear(const std::string& name, int input);  // must be last; out = classes, with bias
  void SetDropout(float p) { program_.dropout = p; }

  const Shape& ShapeOf(int value) const { return program_.values[static_cast<size_t>(value)]; }
  Program Finish() &&;

 private:
  Op& Append(OpKind kind, const std::string& name, Shape output);
  int Param(const std::string& name, ParamKind kind, std::vector<int> shape);
  void BatchNorm(Op& op, int channels, bool affine);

  Program program_;
};

}  // namespace ftt
