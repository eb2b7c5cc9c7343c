#include "engine/cuda/strike_plan.h"

#include <limits>

namespace ftt::cuda {

void StrikePlan::AddSite(int value, const FaultSite& site,
                         const std::vector<const SiteFaults*>& faults,
                         const LaneFaultSteps* lane_steps) {
  // Logits are no codes, and inputs are struck where they lie.
  if (value == 0 || site.kind == SiteKind::kLogits || faults.size() > 64) return;
  const MapShape map{1, 1, site.h, site.w, site.c};
  Site s;
  s.value = value;
  std::vector<FaultStep> steps;
  for (size_t lane = 0; lane < faults.size(); ++lane) {
    if (faults[lane]->Empty()) continue;
    if (faults[lane]->steps.size() != 1) return;
    const FaultStep& step = faults[lane]->steps[0];
    if (!CanList(step, map)) return;
    if (!steps.empty() && (step.model != s.model || step.bits != s.bits)) return;
    s.model = step.model;
    s.bits = step.bits;
    s.lanes |= uint64_t{1} << lane;
    steps.push_back(step);
  }
  if (steps.empty()) return;
  s.job = MakeStrikeJob(map, steps);
  s.job.lanes = lane_steps;
  s.job.words_before = words_;
  words_ += int64_t{s.job.tiles} * s.job.slots;
  jobs_.Add(s.job, s.job.tiles, s.job.chunk_tiles);
  s.chunks_end = jobs_.ChunkCount();
  sites_.push_back(s);
}

int64_t StrikePlan::BytesOf(int lanes, int images, size_t sites) const {
  const int64_t each = sites < sites_.size() ? sites_[sites].job.words_before : words_;
  return each * lanes * images * static_cast<int64_t>(sizeof(uint32_t));
}

size_t StrikePlan::Taken(int lanes, int images) const {
  size_t taken = sites_.size();
  while (taken > 0 && BytesOf(lanes, images, taken) > kMostStrikeBytes) --taken;
  return taken;
}

void StrikePlan::Place(uint32_t* words, int lanes, int images) {
  placed_ = words;
  lanes_ = lanes;
  images_ = images;
  taken_ = Taken(lanes, images);
}

StrikeList StrikePlan::List(int value) const {
  for (size_t i = 0; i < taken_; ++i) {
    const Site& s = sites_[i];
    if (s.value != value) continue;
    const int64_t map_words = int64_t{s.job.tiles} * s.job.slots;
    return {placed_ + s.job.words_before * lanes_ * images_,
            map_words * images_,
            s.job.tiles,
            s.job.slots,
            s.lanes,
            s.model,
            s.bits};
  }
  return {};
}

// An eighth of the work, or all where a second launch would not pay.
size_t StrikePlan::FirstSites() const {
  constexpr int64_t kWorthSplitting = 1 << 16;
  if (BytesOf(lanes_, images_, taken_) < kWorthSplitting) return taken_;
  size_t first = 1;
  while (first < taken_ && 8 * BytesOf(lanes_, images_, first) < BytesOf(lanes_, images_, taken_))
    ++first;
  return first;
}

int StrikePlan::RestFrom() const {
  const size_t first = FirstSites();
  return first < taken_ ? sites_[first].value : std::numeric_limits<int>::max();
}

void StrikePlan::Draw(StrikePart part, const uint32_t* image_ids, DeviceStream stream) const {
  const size_t first = FirstSites();
  const size_t begin = part == StrikePart::kRest ? first : 0;
  const size_t end = part == StrikePart::kFirst ? first : taken_;
  const int chunks_before = begin == 0 ? 0 : sites_[begin - 1].chunks_end;
  StrikeArguments a;
  a.jobs = tables_.jobs;
  a.chunks = tables_.chunks + chunks_before;
  a.chunk_count = end == 0 ? 0 : sites_[end - 1].chunks_end - chunks_before;
  a.lanes = lanes_;
  a.images = images_;
  a.image_ids = image_ids;
  a.words = placed_;
  DrawStrikes(a, stream);
}

void StrikePlan::AddTo(GraphKey& key) const {
  key.AddAll(tables_.jobs, tables_.chunks, placed_, lanes_, images_, taken_);
  for (const Site& s : sites_)
    key.AddAll(s.job.words_before, s.job.slots, s.lanes, s.model, s.bits, s.chunks_end);
}

}  // namespace ftt::cuda
