#include "campaign/sweep.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string_view>

#include "campaign/summary.h"
#include "core/clock.h"
#include "core/digest.h"
#include "core/error.h"

namespace ftt {
namespace {

template <typename T>
void Feed(Digest& digest, const std::vector<T>& values) {
  const uint64_t n = values.size();
  digest.Update({reinterpret_cast<const char*>(&n), sizeof n});
  digest.Update({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
}

std::string DataDigest(const ImageSet& set, int64_t images) {
  Digest digest(DigestKind::kSha256);
  digest.Update({reinterpret_cast<const char*>(set.pixels.data()),
                 static_cast<size_t>(images * set.ImageBytes())});
  digest.Update({reinterpret_cast<const char*>(set.labels.data()), static_cast<size_t>(images)});
  return digest.Finish();
}

TrialRow ToRow(const TrialResult& t, const std::string& backend, const std::string& version,
               double seconds) {
  TrialRow row;
  row.trial = t.trial;
  row.correct = t.correct;
  row.sdc1 = t.changed;
  row.sdc5 = t.outside_top5;
  row.masked = t.masked;
  row.due = t.not_finite;
  row.exposed = t.faults.exposed;
  row.delivered = t.faults.delivered;
  row.backend = backend;
  row.version = version;
  row.seconds = seconds;
  return row;
}

// The sampler of every step of every site, as text to compare.
std::string Samplers(const TrainedNetwork& net, const FaultSpec& faults, double max_rate) {
  const ProgramSites sites = SitesOf(net.model.program);
  std::string out;
  const auto add = [&](const FaultSite& site) {
    for (const FaultStep& step : PlanSite(faults, site, net.model.bits, 0, max_rate).steps)
      out += step.sampler == Sampler::kDense ? 'd' : 's';
    out += ' ';
  };
  for (const FaultSite& site : sites.features) add(site);
  for (const FaultSite& site : sites.weights) {
    if (site.elements > 0) add(site);
  }
  return out;
}

}  // namespace

std::string ModelDigest(const DeployModel& model) {
  Digest digest(DigestKind::kSha256);
  const uint64_t head[] = {model.program.Hash(), static_cast<uint64_t>(model.bits)};
  digest.Update({reinterpret_cast<const char*>(head), sizeof head});
  Feed(digest, model.coding.Mean());
  Feed(digest, model.coding.Stddev());
  Feed(digest, model.exponents);
  for (size_t i = 0; i < model.norms.size(); ++i) {
    Feed(digest, model.weights[i].codes);
    Feed(digest, model.norms[i].scale);
    Feed(digest, model.norms[i].shift);
    Feed(digest, std::vector<float>{model.norms[i].unit});
  }
  return digest.Finish();
}

std::vector<SweepPoint> SweepPoints(size_t networks, const std::vector<FaultCurve>& curves,
                                    const std::vector<double>& rates) {
  std::vector<SweepPoint> points;
  for (size_t network = 0; network < networks; ++network) {
    for (const FaultCurve& curve : curves) {
      FTT_CHECK(!curve.Open() || !rates.empty(),
                "--fault {} leaves the rate open; say which with --rates, or write NAME:RATE",
                curve.Text());
      const std::vector<double> mine = curve.Open() ? rates : std::vector<double>{1.0};
      for (const double rate : mine) {
        SweepPoint p;
        p.network = network;
        p.model = curve.Text();
        p.faults = curve.At(rate);
        p.rate = curve.RateOf(p.faults);
        p.max_rate = curve.Open() ? rates.back() : 0;
        points.push_back(std::move(p));
      }
    }
  }
  return points;
}

void CheckCampaign(const std::vector<CampaignNetwork>& networks,
                   const std::vector<SweepPoint>& points, const Dataset& data,
                   const SweepConfig& c) {
  FTT_CHECK(c.trials >= 1, "--trials: {} is below 1", c.trials);
  FTT_CHECK(c.margin >= 0 && c.margin < 1, "--margin: {} is outside [0, 1)", c.margin);
  FTT_CHECK(c.confidence > 0 && c.confidence < 1, "--confidence: {} is outside (0, 1)",
            c.confidence);
  FTT_CHECK(c.lanes >= 1 && c.batch >= 1, "--lanes and --batch must be at least 1");
  FTT_CHECK(c.margin <= 0 || c.max_trials >= c.trials, "--max-trials: {} is below --trials {}",
            c.max_trials, c.trials);
  const Shape images{data.test.height, data.test.width, data.test.channels};
  std::set<std::string> names;
  for (const CampaignNetwork& n : networks) {
    FTT_CHECK(names.insert(n.name).second,
              "two networks have the name '{}'; tell them apart with NAME=CHECKPOINT", n.name);
    const Shape& input = n.trained.model.program.InputShape();
    FTT_CHECK(input == images, "network {} takes {}x{}x{} images, data set {} has {}x{}x{}", n.name,
              input.h, input.w, input.c, data.name, images.h, images.w, images.c);
    FTT_CHECK(n.trained.model.program.classes == data.classes,
              "network {} knows {} classes, data set {} has {}", n.name,
              n.trained.model.program.classes, data.name, data.classes);
  }
  for (const SweepPoint& p : points) {
    const DeployModel& model = networks[p.network].trained.model;
    CheckFaults(model.program, p.faults, model.bits);
  }
}

void CheckCampaignMemory(const Device& device, const std::vector<CampaignNetwork>& networks,
                         const std::vector<SweepPoint>& points, const SweepConfig& config) {
  for (const SweepPoint& p : points) {
    const CampaignNetwork& n = networks[p.network];
    DeviceWork work;
    work.what = fmt::format("network {} under {}", n.name, p.faults.Text());
    const DeployModel& model = n.trained.model;
    work.deployments.push_back({model.program, model.bits, config.batch, config.lanes, &p.faults,
                                p.scope.empty() ? nullptr : &p.sites});
    device.CheckMemory(work);
  }
}

struct Campaign::Work {
  const SweepPoint* point = nullptr;
  int64_t id = 0;
  std::vector<TrialRow> have;
  bool done = false;
};

Campaign::Campaign(Device& device, CampaignStore& store, const Dataset& data, int64_t limit,
                   std::vector<CampaignNetwork> networks, SweepConfig config)
    : device_(device),
      store_(store),
      data_(data),
      config_(std::move(config)),
      networks_(std::move(networks)) {
  CheckCampaign(networks_, {}, data, config_);
  const int64_t all = data.test.Size();
  images_ = limit > 0 ? std::min(limit, all) : all;
  store_.SetKey({data.name, DataDigest(data.test, images_), images_, config_.seed});
  const std::vector<NetworkRow> known = store_.Networks();
  for (size_t i = 0; i < networks_.size(); ++i) {
    const TrainedNetwork& net = networks_[i].trained;
    const std::string hash = ModelDigest(net.model);
    const auto old = std::find_if(known.begin(), known.end(),
                                  [&](const NetworkRow& n) { return n.hash == hash; });
    if (old != known.end()) {
      rows_.push_back(*old);
      continue;
    }
    NetworkRow row;
    row.hash = hash;
    row.name = networks_[i].name;
    row.architecture = net.spec.genotype.empty() ? net.spec.name : net.spec.genotype;
    row.trained_with = net.faults.empty() ? "none" : net.faults;
    row.multiply_adds = net.model.program.MultiplyAdds();
    row.parameters = net.model.program.ParamCount();
    row.bits = net.model.bits;
    row.golden_correct = EvaluatorOf(i).Golden().correct;
    row.id = store_.AddNetwork(row);
    rows_.push_back(std::move(row));
  }
}

Campaign::~Campaign() = default;

Evaluator& Campaign::EvaluatorOf(size_t network) {
  if (evaluator_ == nullptr || open_network_ != network) {
    evaluator_.reset();
    evaluator_ = std::make_unique<Evaluator>(device_, networks_[network].trained.model, data_.test,
                                             config_.batch, images_);
    open_network_ = network;
  }
  return *evaluator_;
}

// A curve keeps its samplers for good, so that its rates stay nested and its trials repeatable.
void Campaign::CheckSamplers(const std::vector<SweepPoint>& points) {
  for (const SweepPoint& p : points) {
    const std::string note = "max_rate " + p.model;
    const std::string stored = store_.Note(note);
    const double old = stored.empty() ? p.max_rate : std::stod(stored);
    if (stored.empty() || p.max_rate > old) {
      FTT_CHECK(Samplers(networks_[p.network].trained, p.faults, old) ==
                    Samplers(networks_[p.network].trained, p.faults, p.max_rate),
                "{}: its curve {} was begun with rates up to {}; {} needs another sampler, whose "
                "faults would not be nested in the old ones; use another --out",
                store_.Path(), p.model, old, p.max_rate);
    }
  }
  for (const SweepPoint& p : points) {
    const std::string note = "max_rate " + p.model;
    const std::string stored = store_.Note(note);
    if (stored.empty() || std::stod(stored) < p.max_rate)
      store_.SetNote(note, fmt::format("{:.17g}", p.max_rate));
  }
}

// Trials without a gap, and where the margin stops them; 0: no margin, or not yet.
Campaign::Rule Campaign::AskRule(const std::vector<TrialRow>& have) const {
  if (config_.margin <= 0) return {};
  std::vector<double> accuracies;
  for (const TrialRow& t : have) {
    if (t.trial != static_cast<int>(accuracies.size())) break;
    accuracies.push_back(static_cast<double>(t.correct) / static_cast<double>(images_));
  }
  return {static_cast<int>(accuracies.size()),
          static_cast<int>(StoppingTrial(accuracies, config_.margin, config_.confidence))};
}

// How many trials the point needs, as far as can be told now; the same however many run side by
// side.
int Campaign::Wanted(const std::vector<TrialRow>& have) const {
  if (config_.margin <= 0) return config_.trials;
  const Rule rule = AskRule(have);
  if (rule.stop > 0) return std::max(config_.trials, rule.stop);
  const int64_t next = std::min<int64_t>(NextLook(rule.trials), config_.max_trials);
  return std::max(config_.trials, static_cast<int>(next));
}

bool Campaign::RunNetwork(size_t network, std::vector<Work>& work,
                          const std::function<void(const SweepProgress&)>& progress,
                          const std::function<bool()>& stop) {
  bool more = true;
  while (more) {
    more = false;
    for (Work& w : work) {
      if (w.point->network != network || w.done) continue;
      w.have = store_.Trials(w.id);  // another process may have added some
      const int wanted = Wanted(w.have);
      std::vector<char> there(static_cast<size_t>(wanted));
      for (const TrialRow& t : w.have) {
        if (t.trial < wanted) there[static_cast<size_t>(t.trial)] = 1;
      }
      const auto first = static_cast<int>(std::find(there.begin(), there.end(), 0) - there.begin());
      if (first == wanted) {
        w.done = true;
        if (wanted == std::ssize(w.have) && wanted == AskRule(w.have).stop)
          store_.SetStoppedAt(w.id, wanted);
        continue;
      }
      int count = 1;
      while (count < config_.lanes && first + count < wanted &&
             there[static_cast<size_t>(first + count)] == 0)
        ++count;
      EvaluateOptions options;
      options.trials = count;
      options.first_trial = first;
      options.seed = config_.seed;
      options.max_rate = w.point->max_rate;
      options.sites = w.point->scope.empty() ? nullptr : &w.point->sites;
      SweepProgress now{networks_[network].name,
                        w.point->faults.Text(),
                        w.point->scope,
                        static_cast<int>(w.have.size()),
                        0,
                        0};
      for (const Work& other : work) {
        const auto n = static_cast<double>(other.have.size());
        now.done += n;
        now.total += other.done ? n : std::max<double>(n, Wanted(other.have));
      }
      now.done *= static_cast<double>(images_);
      now.total *= static_cast<double>(images_);
      const double start = MonotonicSeconds();
      const std::vector<TrialResult> results = EvaluatorOf(network).RunTrials(
          &w.point->faults, options, nullptr,
          [&](int64_t n) {
            now.done += static_cast<double>(n);
            if (progress) progress(now);
          },
          stop);
      if (results.empty()) return false;
      const double seconds = (MonotonicSeconds() - start) / static_cast<double>(results.size());
      std::vector<TrialRow> rows;
      for (const TrialResult& t : results)
        rows.push_back(ToRow(t, device_.Name(), config_.version, seconds));
      store_.AddTrials(w.id, rows);
      w.have.insert(w.have.end(), rows.begin(), rows.end());
      more = true;
    }
  }
  return true;
}

bool Campaign::Run(const std::vector<SweepPoint>& points,
                   const std::function<void(const SweepProgress&)>& progress,
                   const std::function<bool()>& stop) {
  CheckSamplers(points);
  std::vector<Work> work;
  for (const SweepPoint& p : points) {
    PointRow row;
    row.network = rows_[p.network].id;
    row.model = p.model;
    row.fault = p.faults.Text();
    row.rate = p.rate;
    row.scope = p.scope;
    Work w;
    w.point = &p;
    w.id = store_.AddPoint(row);
    w.have = store_.Trials(w.id);
    work.push_back(std::move(w));
  }
  for (size_t network = 0; network < networks_.size(); ++network) {
    if (!RunNetwork(network, work, progress, stop)) return false;
  }
  return true;
}

}  // namespace ftt
