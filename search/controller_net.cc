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
                  const std::vector<double>& d_hidden, std::vector<double>* d_cell,
                  std::vector<double>* d_gates) {
  const size_t h = s.hidden.size();
  d_gates->resize(4 * h);
  double* d = d_gates->data();
  const double* z = s.gates.data();
  for (size_t k = 0; k < h; ++k) {
    const double i = z[k], f = z[h + k], g = z[2 * h + k], o = z[3 * h + k];
    const double squashed = std::tanh(s.cell[k]);
    const double dc = (*d_cell)[k] + d_hidden[k] * o * (1 - squashed * squashed);
    d[k] = dc * g * i * (1 - i);
    d[h + k] = before != nullptr ? dc * (*before)[k] * f * (1 - f) : 0.0;
    d[2 * h + k] = dc * i * (1 - g * g);
    d[3 * h + k] = d_hidden[k] * squashed * o * (1 - o);
    (*d_cell)[k] = dc * f;
  }
}

}  // namespace

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

void ControllerNet::LstmForward(const ControllerStep* previous, ControllerStep* step) const {
  const auto h = static_cast<size_t>(options_.hidden);
  step->input.assign(h, 0.0);
  step->gates.assign(Data(kLstmBias), Data(kLstmBias) + 4 * h);
  if (previous != nullptr) {
    const double* table = Data(previous->is_op ? kOpEmbedding : kNodeEmbedding);
    const double* row = table + static_cast<size_t>(previous->chosen) * h;
    step->input.assign(row, row + h);
    dense::AddProduct(row, Data(kLstmInput), h, 4 * h, step->gates.data());
    dense::AddProduct(previous->hidden.data(), Data(kLstmHidden), h, 4 * h, step->gates.data());
  }
  step->cell.resize(h);
  step->hidden.resize(h);
  double* z = step->gates.data();
  for (size_t k = 0; k < h; ++k) {
    z[k] = Sigmoid(z[k]);
    z[h + k] = Sigmoid(z[h + k]);
    z[2 * h + k] = std::tanh(z[2 * h + k]);
    z[3 * h + k] = Sigmoid(z[3 * h + k]);
    const double before = previous != nullptr ? previous->cell[k] : 0.0;
    step->cell[k] = z[h + k] * before + z[k] * z[2 * h + k];
    step->hidden[k] = z[3 * h + k] * std::tanh(step->cell[k]);
  }
}

// The embeddings of all nodes through the attention's first map: [nodes + 1, A].
std::vector<double> ControllerNet::AttentionKeys() const {
  const auto h = static_cast<size_t>(options_.hidden), a = static_cast<size_t>(options_.attention);
  const size_t n = params_[kNodeEmbedding].size / h;
  std::vector<double> keys(n * a, 0.0);
  for (size_t j = 0; j < n; ++j) {
    dense::AddProduct(Data(kNodeEmbedding) + j * h, Data(kAttentionEmbedding), h, a,
                      keys.data() + j * a);
  }
  return keys;
}

void ControllerNet::Score(int decision, const std::vector<double>& keys,
                          ControllerStep* step) const {
  const auto h = static_cast<size_t>(options_.hidden), a = static_cast<size_t>(options_.attention);
  const auto n = static_cast<size_t>(OptionsOf(space_, decision, &step->is_op));
  std::vector<double> logits(n, 0.0);
  if (step->is_op) {
    dense::AddProduct(step->hidden.data(), Data(kOpScore), h, n, logits.data());
  } else {
    std::vector<double> query(a, 0.0);
    dense::AddProduct(step->hidden.data(), Data(kAttentionHidden), h, a, query.data());
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

std::vector<ControllerStep> ControllerNet::Forward(const Chooser& choose) const {
  std::vector<ControllerStep> steps(static_cast<size_t>(DecisionsPerCell(space_)));
  const std::vector<double> keys = AttentionKeys();
  for (size_t t = 0; t < steps.size(); ++t) {
    LstmForward(t > 0 ? &steps[t - 1] : nullptr, &steps[t]);
    Score(static_cast<int>(t), keys, &steps[t]);
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
                                  std::vector<double>* gradient, std::vector<double>* d_keys,
                                  std::vector<double>* d_hidden) const {
  const auto h = static_cast<size_t>(options_.hidden), a = static_cast<size_t>(options_.attention);
  const auto slice = [&](int param) { return gradient->data() + params_[param].offset; };
  const std::vector<const double*> hidden = {step.hidden.data()};
  if (step.is_op) {
    dense::AddProductTransposed(Data(kOpScore), h, d_score.size(), d_score.data(),
                                d_hidden->data());
    dense::AddOuter(hidden, {d_score.data()}, h, d_score.size(), slice(kOpScore));
    return;
  }
  std::vector<double> d_query(a, 0.0);
  for (size_t j = 0; j < d_score.size(); ++j) {
    const double* u = step.attention.data() + j * a;
    for (size_t k = 0; k < a; ++k) {
      slice(kAttentionScore)[k] += d_score[j] * u[k];
      const double d = d_score[j] * Data(kAttentionScore)[k] * (1 - u[k] * u[k]);
      (*d_keys)[j * a + k] += d;
      d_query[k] += d;
    }
  }
  dense::AddProductTransposed(Data(kAttentionHidden), h, a, d_query.data(), d_hidden->data());
  dense::AddOuter(hidden, {d_query.data()}, h, a, slice(kAttentionHidden));
}

void ControllerNet::Backward(const std::vector<ControllerStep>& steps, double log_prob_coeff,
                             double entropy_coeff, std::vector<double>* gradient) const {
  const auto h = static_cast<size_t>(options_.hidden), a = static_cast<size_t>(options_.attention);
  const auto slice = [&](int param) { return gradient->data() + params_[param].offset; };
  const size_t nodes = params_[kNodeEmbedding].size / h;
  std::vector<double> d_hidden(h, 0.0), d_cell(h, 0.0), d_keys(nodes * a, 0.0);
  std::vector<std::vector<double>> d_gates(steps.size());
  for (size_t t = steps.size(); t-- > 0;) {
    const ControllerStep& s = steps[t];
    ScoreBackward(s, ScoreGradient(s, log_prob_coeff, entropy_coeff), gradient, &d_keys, &d_hidden);
    GateGradient(s, t > 0 ? &steps[t - 1].cell : nullptr, d_hidden, &d_cell, &d_gates[t]);
    for (size_t k = 0; k < 4 * h; ++k) slice(kLstmBias)[k] += d_gates[t][k];
    if (t == 0) break;  // the first input and state are constants
    const ControllerStep& previous = steps[t - 1];
    double* d_input = slice(previous.is_op ? kOpEmbedding : kNodeEmbedding) +
                      static_cast<size_t>(previous.chosen) * h;
    dense::AddProductTransposed(Data(kLstmInput), h, 4 * h, d_gates[t].data(), d_input);
    d_hidden.assign(h, 0.0);
    dense::AddProductTransposed(Data(kLstmHidden), h, 4 * h, d_gates[t].data(), d_hidden.data());
  }
  std::vector<const double*> inputs, hiddens, gates;
  for (size_t t = 1; t < steps.size(); ++t) {
    inputs.push_back(steps[t].input.data());
    hiddens.push_back(steps[t - 1].hidden.data());
    gates.push_back(d_gates[t].data());
  }
  dense::AddOuter(inputs, gates, h, 4 * h, slice(kLstmInput));
  dense::AddOuter(hiddens, gates, h, 4 * h, slice(kLstmHidden));
  for (size_t j = 0; j < nodes; ++j) {
    const double* d_key = d_keys.data() + j * a;
    dense::AddProductTransposed(Data(kAttentionEmbedding), h, a, d_key,
                                slice(kNodeEmbedding) + j * h);
    dense::AddOuter({Data(kNodeEmbedding) + j * h}, {d_key}, h, a, slice(kAttentionEmbedding));
  }
}

}  // namespace ftt
