// Which sites of a program have their faults drawn ahead (kernels/cuda/strikes.h), and where the
// lists lie.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/cuda/graph_cache.h"
#include "engine/cuda/job_list.h"
#include "engine/lanes.h"
#include "kernels/cuda/strikes.h"

namespace ftt::cuda {

// Lists are sized for the largest number of arrivals that a tile can have, so they can be large:
// what does not fit in so many bytes is drawn by the blocks that write the codes.
inline constexpr int64_t kMostStrikeBytes = int64_t{2} << 30;

// What the first ops of a pass wait for, and what can be drawn beside them.
enum class StrikePart { kAll, kFirst, kRest };

class StrikePlan {
 public:
  // Takes the site if lists are possible there: on each lane at most one term, of one model.
  // faults: by lane; lane_steps: the same on the device.
  void AddSite(int value, const FaultSite& site, const std::vector<const SiteFaults*>& faults,
               const LaneFaultSteps* lane_steps);
  // Adds the tables of DrawStrikes; after the last site.
  void Stage(Staging& staging) { tables_ = jobs_.Stage(staging); }

  // Of the lists for batches of so many images.
  int64_t Bytes(int lanes, int images) const {
    return BytesOf(lanes, images, Taken(lanes, images));
  }
  // From here on List and Draw mean lists at `words`, which has Bytes().
  void Place(uint32_t* words, int lanes, int images);
  // Without words where the site has none.
  StrikeList List(int value) const;
  // Draws everything, or a part; image_ids: [images], device memory.
  void Draw(StrikePart part, const uint32_t* image_ids, DeviceStream stream) const;
  // The first value whose faults belong to StrikePart::kRest; beyond all where none do.
  int RestFrom() const;
  void AddTo(GraphKey& key) const;

 private:
  struct Site {
    int value = 0;
    StrikeJob job;
    uint64_t lanes = 0;
    uint8_t model = 0, bits = 8;
    int chunks_end = 0;  // of the jobs up to here
  };
  // Sites of StrikePart::kFirst.
  size_t FirstSites() const;
  // Sites, from the first on, whose lists fit.
  size_t Taken(int lanes, int images) const;
  int64_t BytesOf(int lanes, int images, size_t sites) const;

  std::vector<Site> sites_;
  JobList<StrikeJob> jobs_;
  JobTables<StrikeJob> tables_;
  int64_t words_ = 0;  // of all sites, per lane and image
  uint32_t* placed_ = nullptr;
  int lanes_ = 1, images_ = 1;
  size_t taken_ = 0;
};

}  // namespace ftt::cuda
