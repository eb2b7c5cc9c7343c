#include "search/controller_net.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "search/dense.h"

namespace ftt {
namespace {

enum Param {
  kLstmInput,
  kLstmHidden,
  kLstmBias,
  kNodeEmbedding,
  kOpEmbedding,
  kAttentionEmbedding,
  kAttentionHidden,
  kAttentionScore,
  kOpScore,
};

// Block counter word b of the initial parameters; samples use small numbers.
constexpr uint32_t kInitPurpose = 0xFFFFFFF0u;

double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Gradient of a * log_prob + b * entropy of one decision with respect to its scores.
std::vector<double> ScoreGradient(const ControllerStep& s, double a, double b) {
  double entropy = 0;
  for (const double lp : s.log_probs) entropy -= std::exp(lp) * lp;
  std::vector<double> d_score(s.log_probs.size());
  for (size_t j = 0; j < d_score.size(); ++j) {
    const double p = std::exp(s.log_probs[j]);
    const double hit = static_cast<int>(j) == s.chosen ? 1.0 : 0.0;
    d_score[j] = s.slope[j] * (a * (hit - p) - b * p * (s.log_probs[j] + entropy));
  }
  return d_score;
}

// From the gradient of a step's hidden state to that of its gates before their functions; *d_cell
// comes in as the later step's share and leaves as the earlier step's. `before` is the earlier cell
// state, null at the first step.
void GateGradient(const ControllerStep& s, const std::vector<double>* before,
                  const std::vector<double>& d_hidden, std::vector<double>* d_cell, double* d) {
  const size_t h = s.hidden.size();
  const double* z = s.gates.data();
  for (size_t k = 0; k < h; ++k) {
    const double i = z[k], f = z[h + k], g = z[2 * h + k], o = z[3 * h + k];
    const double squashed = s.squashed[k];
    const double dc = (*d_cell)[k] + d_hidden[k] * o * (1 - squashed * squashed);
    d[k] = dc * g * i * (1 - i);
    d[h + k] = before != nullptr ? dc * (*before)[k] * f * (1 - f) : 0.0;
    d[2 * h + k] = dc * i * (1 - g * g);
    d[3 * h + k] = d_hidden[k] * squashed * o * (1 - o);
    (*d_cell)[k] = dc * f;
  }
}

// Rows whose outer products add up to a matrix's gradient.
struct Factors {
  std::vector<double> x, dy;
  size_t n = 0;
  void Add(const std::vector<double>& x_row, const std::vector<double>& dy_row) {
    x.insert(x.end(), x_row.begin(), x_row.end());
    dy.insert(dy.end(), dy_row.begin(), dy_row.end());
    ++n;
  }
};

}  // namespace

// Running gradients, from the last step to the first.
struct ControllerNet::BackwardPass {
  std::vector<double>* gradient;
  std::vector<double> d_hidden, d_cell;  // [H]
  std::vector<double> d_gates;           // [steps, 4H]
  std::vector<double> d_keys;            // [nodes + 1, A]
  Factors attention, op_score;           // by decision, the last first
};

ControllerNet::ControllerNet(const SearchSpace& space, const ControllerOptions& options,
                             uint64_t seed, uint32_t cell)
    : space_(space), options_(options) {
  const int64_t h = options.hidden, a = options.attention;
  const auto ops = static_cast<int64_t>(space.primitives.size());
  AddParam("lstm.input", {h, 4 * h});
  AddParam("lstm.hidden", {h, 4 * h});
  AddParam("lstm.bias", {4 * h});
  AddParam("node_embedding", {space.nodes + 1, h});  // the last node feeds no other
  AddParam("op_embedding", {ops, h});
  AddParam("attention.embedding", {h, a});
  AddParam("attention.hidden", {h, a});
  AddParam("attention.score", {a});
  AddParam("op_score", {h, ops});
  PhiloxSequence draws(seed, Stream::kController, cell, kInitPurpose);
  for (double& v : values_) v = options.init_range * (2 * draws.UniformDouble() - 1);
}

void ControllerNet::AddParam(const char* name, std::vector<int64_t> shape) {
  size_t size = 1;
  for (const int64_t extent : shape) size *= static_cast<size_t>(extent);
  params_.push_back({name, std::move(shape), values_.size(), size});
  values_.resize(values_.size() + size);
}

size_t ControllerNet::EmbeddingAt(const ControllerStep& step) const {
  return params_[step.is_op ? kOpEmbedding : kNodeEmbedding].offset +
         static_cast<size_t>(step.chosen) * static_cast<size_t>(options_.hidden);
}

ControllerTables ControllerNet::Tables() const {
  const auto h = static_cast<size_t>(options_.hidden), a = static_cast<size_t>(options_.attention);
  const size_t nodes = params_[kNodeEmbedding].size / h;
  const auto gates = [&](int embedding) {
    const size_t n = params_[embedding].size / h;
    std::vector<double> out;
    for (size_t j = 0; j < n; ++j) out.insert(out.end(), Data(kLstmBias), Data(kLstmBias) + 4 * h);
    dense::AddProduct(Data(embedding), n, Data(kLstmInput), h, 4 * h, out.data());
    return out;
  };
  ControllerTables tables{gates(kNodeEmbedding), gates(kOpEmbedding), {}};
  tables.keys.resize(nodes * a);
  dense::AddProduct(Data(kNodeEmbedding), nodes, Data(kAttentionEmbedding), h, a,
                    tables.keys.data());
  return tables;
}

void ControllerNet::LstmForward(const ControllerTables& tables, const ControllerStep* previous,
                                ControllerStep* step) const {
  const auto h = static_cast<size_t>(options_.hidden);
  if (previous != nullptr) {
    const double* table = (previous->is_op ? tables.op_gates : tables.node_gates).data();
    const double* row = table + static_cast<size_t>(previous->chosen) * 4 * h;
    step->gates.assign(row, row + 4 * h);
    dense::AddProduct(previous->hidden.data(), 1, Data(kLstmHidden), h, 4 * h, step->gates.data());
  } else {
    step->gates.assign(Data(kLstmBias), Data(kLstmBias) + 4 * h);
  }
  step->cell.resize(h);
  step->squashed.resize(h);
  step->hidden.resize(h);
  double* z = step->gates.data();
  for (size_t k = 0; k < h; ++k) {
    z[k] = Sigmoid(z[k]);
    z[h + k] = Sigmoid(z[h + k]);
    z[2 * h + k] = std::tanh(z[2 * h + k]);
    z[3 * h + k] = Sigmoid(z[3 * h + k]);
    const double before = previous != nullptr ? previous->cell[k] : 0.0;
    step->cell[k] = z[h + k] * before + z[k] * z[2 * h + k];
    step->squashed[k] = std::tanh(step->cell[k]);
    step->hidden[k] = z[3 * h + k] * step->squashed[k];
  }
}

void ControllerNet::Score(int decision, const std::vector<double>& keys,
                          ControllerStep* step) const {
  const auto h = static_cast<size_t>(options_.hidden), a = static_cast<size_t>(options_.attention);
  const auto n = static_cast<size_t>(OptionsOf(space_, decision, &step->is_op));
  std::vector<double> logits(n, 0.0);
  if (step->is_op) {
    dense::AddProduct(step->hidden.data(), 1, Data(kOpScore), h, n, logits.data());
  } else {
    std::vector<double> query(a, 0.0);
    dense::AddProduct(step->hidden.data(), 1, Data(kAttentionHidden), h, a, query.data());
    step->attention.resize(n * a);
    for (size_t j = 0; j < n; ++j) {
      double* u = step->attention.data() + j * a;
      for (size_t k = 0; k < a; ++k) {
        u[k] = std::tanh(keys[j * a + k] + query[k]);
        logits[j] += Data(kAttentionScore)[k] * u[k];
      }
    }
  }
  const double bound = options_.tanh_constant / (step->is_op ? options_.op_tanh_reduce : 1.0);
  step->slope.assign(n, 1.0 / options_.temperature);
  for (size_t j = 0; j < n; ++j) {
    logits[j] /= options_.temperature;
    if (bound <= 0) continue;
    const double t = std::tanh(logits[j]);
    logits[j] = bound * t;
    step->slope[j] *= bound * (1 - t * t);
  }
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double x : logits) sum += std::exp(x - top);
  step->log_probs.resize(n);
  for (size_t j = 0; j < n; ++j) step->log_probs[j] = logits[j] - top - std::log(sum);
}

std::vector<ControllerStep> ControllerNet::Forward(const ControllerTables& tables,
                                                   const Chooser& choose) const {
  std::vector<ControllerStep> steps(static_cast<size_t>(DecisionsPerCell(space_)));
  for (size_t t = 0; t < steps.size(); ++t) {
    LstmForward(tables, t > 0 ? &steps[t - 1] : nullptr, &steps[t]);
    Score(static_cast<int>(t), tables.keys, &steps[t]);
    steps[t].chosen = choose(static_cast<int>(t), steps[t].log_probs);
    FTT_CHECK(
        steps[t].chosen >= 0 && static_cast<size_t>(steps[t].chosen) < steps[t].log_probs.size(),
        "controller: decision {} has no option {}", t, steps[t].chosen);
  }
  return steps;
}

double ControllerNet::LogProb(const std::vector<ControllerStep>& steps) {
  double sum = 0;
  for (const ControllerStep& s : steps) sum += s.log_probs[static_cast<size_t>(s.chosen)];
  return sum;
}

double ControllerNet::Entropy(const std::vector<ControllerStep>& steps) {
  double sum = 0;
  for (const ControllerStep& s : steps) {
    for (const double lp : s.log_probs) sum -= std::exp(lp) * lp;
  }
  return sum;
}

void ControllerNet::ScoreBackward(const ControllerStep& step, const std::vector<double>& d_score,
                                  BackwardPass* pass) const {
  const auto h = static_cast<size_t>(options_.hidden), a = static_cast<size_t>(options_.attention);
  if (step.is_op) {
    dense::AddProductTransposed(d_score.data(), 1, Data(kOpScore), h, d_score.size(),
                                pass->d_hidden.data());
    pass->op_score.Add(step.hidden, d_score);
    return;
  }
  double* d_attention_score = pass->gradient->data() + params_[kAttentionScore].offset;
  std::vector<double> d_query(a, 0.0);
  for (size_t j = 0; j < d_score.size(); ++j) {
    const double* u = step.attention.data() + j * a;
    for (size_t k = 0; k < a; ++k) {
      d_attention_score[k] += d_score[j] * u[k];
      const double d = d_score[j] * Data(kAttentionScore)[k] * (1 - u[k] * u[k]);
      pass->d_keys[j * a + k] += d;
      d_query[k] += d;
    }
  }
  dense::AddProductTransposed(d_query.data(), 1, Data(kAttentionHidden), h, a,
                              pass->d_hidden.data());
  pass->attention.Add(step.hidden, d_query);
}

// Of lstm.input, lstm.hidden and the embeddings that were inputs. The first step had none.
void ControllerNet::LstmMatricesBackward(const std::vector<ControllerStep>& steps,
                                         BackwardPass* pass) const {
  const auto h = static_cast<size_t>(options_.hidden);
  const size_t n = steps.size() - 1;
  const double* d_gates = pass->d_gates.data() + 4 * h;
  std::vector<double> inputs, hiddens, d_inputs(n * h, 0.0);
  for (size_t t = 0; t < n; ++t) {
    const double* input = values_.data() + EmbeddingAt(steps[t]);
    inputs.insert(inputs.end(), input, input + h);
    hiddens.insert(hiddens.end(), steps[t].hidden.begin(), steps[t].hidden.end());
  }
  double* gradient = pass->gradient->data();
  dense::Outer(inputs.data(), d_gates, n, h, 4 * h, gradient + params_[kLstmInput].offset);
  dense::Outer(hiddens.data(), d_gates, n, h, 4 * h, gradient + params_[kLstmHidden].offset);
  dense::AddProductTransposed(d_gates, n, Data(kLstmInput), h, 4 * h, d_inputs.data());
  for (size_t t = n; t-- > 0;) {
    double* d_embedding = gradient + EmbeddingAt(steps[t]);
    for (size_t k = 0; k < h; ++k) d_embedding[k] += d_inputs[t * h + k];
  }
}

void ControllerNet::Backward(const std::vector<ControllerStep>& steps, double log_prob_coeff,
                             double entropy_coeff, std::vector<double>* gradient) const {
  const auto h = static_cast<size_t>(options_.hidden), a = static_cast<size_t>(options_.attention);
  const size_t nodes = params_[kNodeEmbedding].size / h, ops = params_[kOpEmbedding].size / h;
  gradient->resize(values_.size());
  const auto slice = [&](int param) { return gradient->data() + params_[param].offset; };
  // What is added to; the rest is written at once.
  for (const int param : {kLstmBias, kNodeEmbedding, kOpEmbedding, kAttentionScore})
    std::fill_n(slice(param), params_[param].size, 0.0);
  BackwardPass pass;
  pass.gradient = gradient;
  pass.d_hidden.assign(h, 0.0);
  pass.d_cell.assign(h, 0.0);
  pass.d_gates.resize(steps.size() * 4 * h);
  pass.d_keys.assign(nodes * a, 0.0);
  for (size_t t = steps.size(); t-- > 0;) {
    const ControllerStep& s = steps[t];
    double* d_gates = pass.d_gates.data() + t * 4 * h;
    ScoreBackward(s, ScoreGradient(s, log_prob_coeff, entropy_coeff), &pass);
    GateGradient(s, t > 0 ? &steps[t - 1].cell : nullptr, pass.d_hidden, &pass.d_cell, d_gates);
    for (size_t k = 0; k < 4 * h; ++k) slice(kLstmBias)[k] += d_gates[k];
    if (t == 0) break;  // the first input and state are constants
    pass.d_hidden.assign(h, 0.0);
    dense::AddProductTransposed(d_gates, 1, Data(kLstmHidden), h, 4 * h, pass.d_hidden.data());
  }
  LstmMatricesBackward(steps, &pass);
  const auto outer = [&](const Factors& f, size_t cols, int param) {
    dense::Outer(f.x.data(), f.dy.data(), f.n, h, cols, slice(param));
  };
  outer(pass.op_score, ops, kOpScore);
  outer(pass.attention, a, kAttentionHidden);
  dense::AddProductTransposed(pass.d_keys.data(), nodes, Data(kAttentionEmbedding), h, a,
                              slice(kNodeEmbedding));
  dense::Outer(Data(kNodeEmbedding), pass.d_keys.data(), nodes, h, a, slice(kAttentionEmbedding));
}

}  // namespace ftt
