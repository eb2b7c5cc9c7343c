// One LSTM of the controller with its gradient: draws the decisions of one cell. Used by
// controller.cc and its tests.
//
// Source: the reference's `embed_lstm` (aw_nas, controller/rl_networks.py). Per decision one LSTM
// step; then
//   input node j:  score_j = v . tanh(E_j W1 + h W2)   over the learned embeddings E of the earlier
//   nodes op:            score = h W_op logits = score / temperature, then, where tanh_constant c >
//   0, c * tanh(logits) (ops: c / op_tanh_reduce)
// The embedding of what was chosen is the next step's input; the first input and state are zeros.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "search/space.h"

namespace ftt {

struct ControllerOptions {
  int hidden = 100;             // LSTM state and embeddings, 1 to 4096
  int attention = 100;          // 1 to 4096
  double temperature = 5.0;     // divides the scores, > 0
  double tanh_constant = 0.0;   // bounds the logits; 0: off
  double op_tanh_reduce = 2.5;  // divides tanh_constant for ops, > 0
  double init_range = 0.1;      // parameters start uniform on [-range, range)
  double learning_rate = 1e-3;  // Adam, with beta 0.9 and 0.999, epsilon 1e-8
  double baseline_decay = 0.99;
  double entropy_coeff = 0.01;
  double gradient_clip = 0.0;  // bound of the gradient's 2-norm over both LSTMs; 0: off
  int threads = 1;             // 2: the two LSTMs side by side, with the same results
};

// A named slice of the flat parameter vector; matrices are [in, out].
struct ControllerParam {
  std::string name;
  std::vector<int64_t> shape;
  size_t offset = 0, size = 0;
};

// What the gradient needs of one decision.
struct ControllerStep {
  bool is_op = false;
  int chosen = 0;
  std::vector<double> gates;                   // [4H]: i, f, g, o after their functions
  std::vector<double> cell, squashed, hidden;  // [H]; squashed = tanh(cell)
  std::vector<double> slope;                   // [options], d logit / d score
  std::vector<double> log_probs;               // [options]
  std::vector<double> attention;               // [options, A], tanh values; empty for an op
};

// Products that depend on the parameters alone and serve all steps of all passes.
struct ControllerTables {
  std::vector<double> node_gates, op_gates;  // [nodes + 1, 4H], [ops, 4H]: an input's share, bias
  std::vector<double> keys;                  // [nodes + 1, A]: E W1
};

class ControllerNet {
 public:
  // Parameters from (seed, Stream::kController); `cell` is 0 for the normal cell, 1 for the
  // reduction cell.
  ControllerNet(const SearchSpace& space, const ControllerOptions& options, uint64_t seed,
                uint32_t cell);

  // Of the current Values().
  ControllerTables Tables() const;

  // Picks a decision from its log-probabilities.
  using Chooser = std::function<int(int decision, const std::vector<double>& log_probs)>;
  std::vector<ControllerStep> Forward(const ControllerTables& tables, const Chooser& choose) const;

  // Sums over the steps, in nats.
  static double LogProb(const std::vector<ControllerStep>& steps);
  static double Entropy(const std::vector<ControllerStep>& steps);

  // Writes to `gradient` (flat, like Values()) the gradient of log_prob_coeff * LogProb +
  // entropy_coeff * Entropy, the decisions held fixed.
  void Backward(const std::vector<ControllerStep>& steps, double log_prob_coeff,
                double entropy_coeff, std::vector<double>* gradient) const;

  const std::vector<ControllerParam>& Params() const { return params_; }
  const std::vector<double>& Values() const { return values_; }
  std::vector<double>& Values() { return values_; }

 private:
  void AddParam(const char* name, std::vector<int64_t> shape);
  const double* Data(int param) const { return values_.data() + params_[param].offset; }
  // The embedding of what was chosen: a row of node_embedding or of op_embedding.
  size_t EmbeddingAt(const ControllerStep& step) const;
  void LstmForward(const ControllerTables& tables, const ControllerStep* previous,
                   ControllerStep* step) const;
  void Score(int decision, const std::vector<double>& keys, ControllerStep* step) const;
  struct BackwardPass;
  void ScoreBackward(const ControllerStep& step, const std::vector<double>& d_score,
                     BackwardPass* pass) const;
  void LstmMatricesBackward(const std::vector<ControllerStep>& steps, BackwardPass* pass) const;

  SearchSpace space_;
  ControllerOptions options_;
  std::vector<ControllerParam> params_;
  std::vector<double> values_;
};

}  // namespace ftt
