#include "engine/optimizer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "kernels/backend.h"

namespace ftt {
namespace {

constexpr double kPi = 3.14159265358979323846;

constexpr int64_t kPiece = 1 << 14;  // elements that a thread takes at a time

// Elements [first, last) of a parameter. Its state is there.
void SgdUpdate(const OptimizerOptions& o, Param& p, const float* gradient, float rate,
               int64_t first, int64_t last) {
  float* value = p.value.data();
  float* velocity = p.momentum.data();
  for (int64_t i = first; i < last; ++i) {
    const float g = gradient[i] + o.weight_decay * value[i];
    velocity[i] = o.momentum * velocity[i] + g;
    value[i] -= rate * (o.nesterov ? g + o.momentum * velocity[i] : velocity[i]);
  }
}

void AdamUpdate(const OptimizerOptions& o, Param& p, const float* gradient, float rate,
                int64_t first, int64_t last) {
  const AdamCorrections corrections = CorrectionsOf(o, p.updates);
  float* value = p.value.data();
  float* moment = p.momentum.data();
  float* second = p.second_moment.data();
  for (int64_t i = first; i < last; ++i) {
    const float g = gradient[i] + o.weight_decay * value[i];
    moment[i] = o.beta1 * moment[i] + (1.0f - o.beta1) * g;
    second[i] = o.beta2 * second[i] + (1.0f - o.beta2) * g * g;
    value[i] -= rate * (moment[i] / corrections.first) /
                (std::sqrt(second[i] / corrections.second) + o.epsilon);
  }
}

void For(Backend* backend, int64_t pieces, const std::function<void(int64_t)>& body) {
  if (backend != nullptr) {
    backend->For(static_cast<int>(pieces), [&](int piece, int) { body(piece); });
    return;
  }
  for (int64_t piece = 0; piece < pieces; ++piece) body(piece);
}

// By eight side by side, so that they fit vectors.
double SumOfSquares(const float* v, int64_t n) {
  constexpr int64_t kLanes = 8;
  double sums[kLanes] = {};
  const int64_t whole = n / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) sums[k] += double{v[i + k]} * v[i + k];
  }
  double total = 0;
  for (const double sum : sums) total += sum;
  for (int64_t i = whole; i < n; ++i) total += double{v[i]} * v[i];
  return total;
}

double Norm(const std::vector<float>& v, Backend* backend) {
  const int64_t n = std::ssize(v);
  std::vector<double> squares(static_cast<size_t>((n + kPiece - 1) / kPiece));
  For(backend, std::ssize(squares), [&](int64_t piece) {
    const int64_t first = piece * kPiece;
    squares[static_cast<size_t>(piece)] =
        SumOfSquares(v.data() + first, std::min(kPiece, n - first));
  });
  return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
}

// Part of a parameter's update.
struct Piece {
  Param* param;
  float* gradient;  // of the parameter
  int64_t first, last;
};

std::vector<Piece> PiecesOf(const OptimizerOptions& options, const Program& program,
                            ParamStore& params, float* gradient) {
  std::vector<Piece> pieces;
  for (const ParamInfo& info : program.params) {
    if (!info.Trained()) continue;
    Param& p = params.Get(info);
    const int64_t n = std::ssize(p.value);
    if (p.momentum.empty()) p.momentum.assign(p.value.size(), 0.0f);
    if (options.kind == "adam") {
      if (p.second_moment.empty()) p.second_moment.assign(p.value.size(), 0.0f);
      ++p.updates;
    }
    for (int64_t first = 0; first < n; first += kPiece)
      pieces.push_back({&p, gradient, first, std::min(n, first + kPiece)});
    gradient += n;
  }
  return pieces;
}

}  // namespace

AdamCorrections CorrectionsOf(const OptimizerOptions& o, int64_t updates) {
  const auto t = static_cast<double>(updates);
  return {static_cast<float>(1.0 - std::pow(o.beta1, t)),
          static_cast<float>(1.0 - std::pow(o.beta2, t))};
}

void Validate(const OptimizerOptions& o) {
  FTT_CHECK(o.kind == "sgd" || o.kind == "adam", "optimizer '{}' is unknown; use sgd or adam",
            o.kind);
  FTT_CHECK(o.momentum >= 0 && o.momentum < 1, "momentum {} is outside [0, 1)", o.momentum);
  FTT_CHECK(o.weight_decay >= 0, "weight decay {} is negative", o.weight_decay);
  FTT_CHECK(o.clip >= 0, "gradient clip {} is negative; 0 switches it off", o.clip);
}

double OptimizerStep(const OptimizerOptions& options, const Program& program, ParamStore& params,
                     std::vector<float>& gradient, float learning_rate, Backend* backend) {
  const double norm = Norm(gradient, backend);
  FTT_CHECK(std::isfinite(norm), kDivergedMessage);
  const bool clips = options.clip > 0 && norm > options.clip;
  const auto scale = static_cast<float>(clips ? options.clip / norm : 1.0);
  const std::vector<Piece> pieces = PiecesOf(options, program, params, gradient.data());
  For(backend, std::ssize(pieces), [&](int64_t at) {
    const Piece& piece = pieces[static_cast<size_t>(at)];
    for (int64_t i = piece.first; clips && i < piece.last; ++i) piece.gradient[i] *= scale;
    const auto update = options.kind == "adam" ? AdamUpdate : SgdUpdate;
    update(options, *piece.param, piece.gradient, learning_rate, piece.first, piece.last);
  });
  return norm;
}

float LearningRate(const Schedule& s, int64_t step, int64_t total) {
  const double position = total > 0 ? static_cast<double>(step) / static_cast<double>(total) : 0.0;
  if (position < s.warmup)
    return static_cast<float>(s.base * (position * static_cast<double>(total) + 1) /
                              (s.warmup * static_cast<double>(total) + 1));
  if (s.kind == "constant") return s.base;
  if (s.kind == "cosine") {
    const double through = (position - s.warmup) / (1.0 - s.warmup);
    return static_cast<float>(s.floor + (s.base - s.floor) * 0.5 * (1.0 + std::cos(kPi * through)));
  }
  FTT_CHECK(s.kind == "step", "schedule '{}' is unknown; use constant, cosine or step", s.kind);
  double rate = s.base;
  for (const double milestone : s.milestones) rate *= position >= milestone ? s.factor : 1.0;
  return static_cast<float>(rate);
}

}  // namespace ftt
