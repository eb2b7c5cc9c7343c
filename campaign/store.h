// Results of a campaign in one SQLite file: networks, and one row per finished trial. Several
// processes may work on one file. Schema: docs/campaigns.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ftt {

class Sqlite;

// What all trials of a campaign share. A file belongs to one campaign.
struct CampaignKey {
  std::string data;         // data set, e.g. "cifar10"
  std::string data_digest;  // SHA-256 of the test images and labels that are used
  int64_t images = 0;       // test images of a trial
  uint64_t seed = 1;
};

// A network and its golden (fault-free) run.
struct NetworkRow {
  int64_t id = 0;
  std::string hash;          // SHA-256 of what is deployed: program, codes, maps, exponents
  std::string name;          // unique in the campaign, for people
  std::string architecture;  // network name or genotype
  std::string trained_with;  // fault specification of its training; "none"
  int64_t multiply_adds = 0, parameters = 0;
  int bits = 8;
  int64_t golden_correct = 0;  // of CampaignKey::images
};

// A point of a curve: a network under a fault specification, perhaps at some of its sites only.
struct PointRow {
  int64_t id = 0, network = 0;
  std::string model;  // the specification with every rate replaced by '*', e.g. "mibb:*": one curve
  std::string fault;  // canonical specification, e.g. "mibb:0.0001"
  double rate = 0;    // of its first term
  std::string scope;  // "" for the whole network; else what analyze restricted the faults to
};

struct TrialRow {
  int trial = 0;
  int64_t correct = 0;     // top-1 against labels
  int64_t sdc1 = 0;        // top-1 differs from the golden run
  int64_t sdc5 = 0;        // top-1 is not among the golden run's first five
  int64_t masked = 0;      // all logits are bit for bit the golden run's
  int64_t due = 0;         // a logit is NaN or infinite
  uint64_t exposed = 0;    // units that faults could have hit
  uint64_t delivered = 0;  // faults
  std::string backend, version;
  double seconds = 0;  // of computing, for the record
};

class CampaignStore {
 public:
  enum class Access { kCreate, kWrite, kRead };
  // kCreate makes the file where it is missing. Throws ftt::Error, and changes nothing, where the
  // file is no SQLite file, damaged, another program's, or of a newer format.
  CampaignStore(const std::string& path, Access access);
  ~CampaignStore();
  CampaignStore(const CampaignStore&) = delete;
  CampaignStore& operator=(const CampaignStore&) = delete;

  const std::string& Path() const { return path_; }

  // Writes the key of a new campaign; for an old one throws ftt::Error where it differs, naming
  // what.
  void SetKey(const CampaignKey& key);
  std::optional<CampaignKey> Key() const;

  // The id of the network: a new row, or that with the same hash. Throws ftt::Error where its
  // golden run differs, or the name belongs to another network.
  int64_t AddNetwork(const NetworkRow& network);
  int64_t AddPoint(const PointRow& point);  // likewise; a point is its network, fault and scope
  // One transaction. A trial that is there already is left alone: its result is the same.
  void AddTrials(int64_t point, const std::vector<TrialRow>& trials);

  std::vector<NetworkRow> Networks() const;           // in order of their ids
  std::vector<PointRow> Points() const;               // by network, scope, model, rate
  std::vector<TrialRow> Trials(int64_t point) const;  // in order of their numbers

  // Free text about the campaign that reports repeat, e.g. its command line.
  void SetNote(const std::string& name, const std::string& text);
  std::string Note(const std::string& name) const;  // "" where there is none

  // Trials after which the rule of sequential stopping ended a point; 0: it did not.
  void SetStoppedAt(int64_t point, int trials);
  int StoppedAt(int64_t point) const;

 private:
  std::string path_;
  std::unique_ptr<Sqlite> db_;
};

}  // namespace ftt
