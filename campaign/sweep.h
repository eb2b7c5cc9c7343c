// A campaign: networks under faults of several models and rates, trial by trial, into a store.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "campaign/curve.h"
#include "campaign/store.h"
#include "data/dataset.h"
#include "engine/checkpoint.h"
#include "engine/evaluate.h"

namespace ftt {

struct CampaignNetwork {
  std::string name;  // unique in the campaign
  TrainedNetwork trained;
};

struct SweepConfig {
  int trials = 10;        // of each point; with a margin the fewest
  double margin = 0;      // half width of the accuracy's interval at which a point is done; 0: off
  int max_trials = 1000;  // with a margin
  double confidence = 0.95;
  int batch = 64;  // images per call; never changes a result
  int lanes = 1;   // trials side by side; never changes a result
  uint64_t seed = 1;
  std::string version;  // of the program, for the record
};

// A point to be measured. Its faults may be restricted to some sites, then `scope` says to which.
struct SweepPoint {
  size_t network = 0;  // index
  std::string model;   // FaultCurve::Text
  FaultSpec faults;
  double rate = 0;
  double max_rate = 0;  // of the curve, see PlanSite
  std::string scope;
  SiteFilter sites;  // used where scope is not empty
};

// All networks under all curves at all rates; curves with fixed rates give one point.
std::vector<SweepPoint> SweepPoints(size_t networks, const std::vector<FaultCurve>& curves,
                                    const std::vector<double>& rates);

// Throws ftt::Error where a setting is out of range, two networks have one name, a network does not
// fit the images, or a fault's rate is below what its sampler resolves. Touches no file.
void CheckCampaign(const std::vector<CampaignNetwork>& networks,
                   const std::vector<SweepPoint>& points, const Dataset& data,
                   const SweepConfig& config);

// Throws ftt::Error where a point does not fit into the device's free memory.
void CheckCampaignMemory(const Device& device, const std::vector<CampaignNetwork>& networks,
                         const std::vector<SweepPoint>& points, const SweepConfig& config);

struct SweepProgress {
  std::string network, fault, scope;
  int trials_done = 0;         // of this point
  double done = 0, total = 0;  // images of the whole campaign, as far as known
};

class Campaign {
 public:
  // Runs every network once without faults. data, device and store must outlive it. limit: test
  // images, 0: all. Throws ftt::Error where the store belongs to another campaign, and as
  // CheckCampaign does.
  Campaign(Device& device, CampaignStore& store, const Dataset& data, int64_t limit,
           std::vector<CampaignNetwork> networks, SweepConfig config);
  ~Campaign();

  // Runs what is missing of the points, point by point in rounds of config.lanes trials, each
  // stored when it is done. Returns false when `stop` (nullable) ended it early; a trial in flight
  // is lost then. progress (nullable) is called after every batch.
  bool Run(const std::vector<SweepPoint>& points,
           const std::function<void(const SweepProgress&)>& progress,
           const std::function<bool()>& stop);

  const NetworkRow& Row(size_t network) const { return rows_[network]; }
  const CampaignNetwork& Network(size_t network) const { return networks_[network]; }
  int64_t Images() const { return images_; }

 private:
  struct Work;

  bool RunNetwork(size_t network, std::vector<Work>& work,
                  const std::function<void(const SweepProgress&)>& progress,
                  const std::function<bool()>& stop);
  void CheckSamplers(const std::vector<SweepPoint>& points);
  struct Rule {
    int trials = 0, stop = 0;
  };
  Rule AskRule(const std::vector<TrialRow>& have) const;
  int Wanted(const std::vector<TrialRow>& have) const;
  Evaluator& EvaluatorOf(size_t network);

  Device& device_;
  CampaignStore& store_;
  const Dataset& data_;
  SweepConfig config_;
  int64_t images_ = 0;
  std::vector<CampaignNetwork> networks_;
  std::vector<NetworkRow> rows_;
  // Executors hold large buffers: one at a time.
  size_t open_network_ = 0;
  std::unique_ptr<Evaluator> evaluator_;
};

// SHA-256 of what is deployed: program, weight codes, affine maps, exponents, input coding.
std::string ModelDigest(const DeployModel& model);

}  // namespace ftt
