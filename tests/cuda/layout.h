// Between the dense layout of kernels/backend.h and the padded one of the device; faults on the
// device.
#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "faults/model_list.h"
#include "faults/probability.h"
#include "faults/spec.h"
#include "kernels/backend.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/strikes.h"
#include "kernels/cuda/tensor.h"
#include "tests/cuda/device_buffer.h"

#ifdef FTT_CUDA_EMULATION
#include "tests/cuda_emulation/block.h"
#endif

namespace ftt::cuda::test {

// [rows][channels] -> [rows][Stride()], pad channels 0.
template <typename T>
std::vector<T> Padded(const std::vector<T>& dense, int channels, T pad = T{}) {
  const auto c = static_cast<size_t>(channels);
  const auto stride = static_cast<size_t>(PaddedChannels(channels));
  std::vector<T> out(dense.size() / c * stride, pad);
  for (size_t i = 0; i < dense.size(); ++i) out[i / c * stride + i % c] = dense[i];
  return out;
}

// The inverse; pad channels must hold 0.
template <typename T>
std::vector<T> Dense(const std::vector<T>& padded, int channels) {
  const auto c = static_cast<size_t>(channels);
  const auto stride = static_cast<size_t>(PaddedChannels(channels));
  std::vector<T> out;
  size_t dirty = 0;
  for (size_t i = 0; i < padded.size(); ++i) {
    if (i % stride < c) {
      out.push_back(padded[i]);
    } else if (padded[i] != T{}) {
      ++dirty;
    }
  }
  EXPECT_EQ(dirty, 0u) << "pad channels that do not hold 0";
  return out;
}

// Statistics of `lanes` lanes to which nothing has been added yet.
inline DeviceBuffer<int64_t> EmptyMoments(int lanes, int stride) {
  return DeviceBuffer<int64_t>(
      std::vector<int64_t>(static_cast<size_t>(MomentBytes(lanes, stride)) / sizeof(int64_t)));
}
// Their rows added up: [lanes][stride].
inline std::vector<ChannelMoments> Merged(std::vector<int64_t> moments, int lanes, int stride) {
  std::vector<ChannelMoments> sums;
  for (int lane = 0; lane < lanes; ++lane) {
    for (int c = 0; c < stride; ++c) {
      ChannelMoments sum;
      for (int row = 0; row < kMomentRows; ++row) {
        const ChannelMoments m = MomentRow(moments.data(), lane, row, stride).Read(c);
        sum = {sum.sum + m.sum, sum.sum_squares + m.sum_squares, std::min(sum.min, m.min),
               std::max(sum.max, m.max)};
      }
      sums.push_back(sum);
    }
  }
  return sums;
}
// Writes one channel of a row.
inline void PutMoments(std::vector<int64_t>& moments, int lane, int row, int stride, int channel,
                       const ChannelMoments& m) {
  const MomentRow to(moments.data(), lane, row, stride);
  to.sum[channel] = m.sum;
  to.sum_squares[channel] = m.sum_squares;
  to.min_keys[channel] = MomentRow::MinKey(m.min);
  to.max_keys[channel] = MomentRow::MaxKey(m.max);
}

// Mask bits of the device as rows of kernels/backend.h: [lanes][images] x MaskBytes(elements).
inline std::vector<uint8_t> DenseMask(const std::vector<uint8_t>& device, const MapShape& s) {
  const int64_t elements = int64_t{s.MapPixels()} * s.channels;
  std::vector<uint8_t> out(static_cast<size_t>(s.lanes * s.images * MaskBytes(elements)));
  for (int64_t map = 0; map < s.lanes * s.images; ++map) {
    for (int64_t e = 0; e < elements; ++e) {
      const int64_t bit = (map * s.MapPixels() + e / s.channels) * s.Stride() + e % s.channels;
      const int value = device[static_cast<size_t>(bit / 8)] >> (bit % 8) & 1;
      uint8_t& byte = out[static_cast<size_t>(map * MaskBytes(elements) + e / 8)];
      byte = static_cast<uint8_t>(byte | value << (e % 8));
    }
  }
  return out;
}
inline std::vector<uint8_t> PaddedMask(const std::vector<uint8_t>& dense, const MapShape& s) {
  const int64_t elements = int64_t{s.MapPixels()} * s.channels;
  std::vector<uint8_t> out(static_cast<size_t>(s.lanes * s.LaneElements() / 8));
  for (int64_t map = 0; map < s.lanes * s.images; ++map) {
    for (int64_t e = 0; e < elements; ++e) {
      const int64_t bit = (map * s.MapPixels() + e / s.channels) * s.Stride() + e % s.channels;
      const int value =
          dense[static_cast<size_t>(map * MaskBytes(elements) + e / 8)] >> (e % 8) & 1;
      uint8_t& byte = out[static_cast<size_t>(bit / 8)];
      byte = static_cast<uint8_t>(byte | value << (bit % 8));
    }
  }
  return out;
}

// Fault steps and the tables that they point to in device memory.
class StepMemory {
 public:
  const FaultStep* Upload(std::vector<FaultStep> steps) {
    for (FaultStep& s : steps) {
      if (s.count_thresholds != nullptr) {
        s.count_thresholds = Keep(words_, s.count_thresholds, s.count_size);
        s.count_guide = Keep(guides_, s.count_guide, 256);
      }
      if (s.normal_thresholds != nullptr)
        s.normal_thresholds = Keep(words_, s.normal_thresholds, s.normal_size);
      collects_ |= s.style == FaultStyle::kCells && s.sampler == Sampler::kSparse && !s.one_fault;
    }
    return Keep(steps_, steps.data(), steps.size());
  }
  bool Collects() const { return collects_; }  // see SiteFaultsView

 private:
  template <typename T>
  const T* Keep(std::deque<DeviceBuffer<T>>& buffers, const T* values, size_t n) {
    buffers.emplace_back(std::vector<T>(values, values + n));
    return buffers.back().Data();
  }

  std::deque<DeviceBuffer<uint32_t>> words_;
  std::deque<DeviceBuffer<uint16_t>> guides_;
  std::deque<DeviceBuffer<FaultStep>> steps_;
  bool collects_ = false;
};

// The same faults for the reference and for the device: lane l carries specs[l], "" is clean.
class LanePlans {
 public:
  LanePlans(const std::vector<std::string>& specs, const Shape& map, int bits, bool training,
            const std::vector<uint32_t>& image_ids, SiteKind kind = SiteKind::kConv)
      : map_{static_cast<int>(specs.size()), static_cast<int>(image_ids.size()), map.h, map.w,
             map.c},
        ids_(image_ids),
        hits_(specs.size() * kMaxFaultTerms),
        lanes_(specs.size()) {
    FaultSite site;
    site.id = 3;
    site.name = "site";
    site.kind = kind;
    site.macs = 9;
    site.h = map.h;
    site.w = map.w;
    site.c = map.c;
    site.elements = map.Elements();
    hits_.Set(std::vector<HitCounts>(hits_.Size(), HitCounts{}));
    std::vector<LaneFaultSteps> lanes;
    for (size_t l = 0; l < specs.size(); ++l) {
      const FaultMoment moment{static_cast<uint32_t>(5 + l), training};
      plans_.push_back(PlanSite(ParseFaultSpec(specs[l]), site, bits, 11 + l));
      counts_.emplace_back();
      host_.push_back({&plans_.back(), moment, &counts_.back(), nullptr});
      lanes.push_back({memory_.Upload(plans_.back().steps),
                       static_cast<int>(plans_.back().steps.size()), moment,
                       hits_.Data() + l * kMaxFaultTerms});
    }
    lanes_.Set(lanes);
  }

  const LaneFaults* Host() const { return host_.data(); }
  // ahead: drawn by DrawStrikes, where lists are possible.
  SiteFaultsView View(bool ahead = false) {
    SiteFaultsView view{lanes_.Data(), ids_.Data(), memory_.Collects(), {}};
    if (ahead && CanListAll()) view.list = DrawLists();
    return view;
  }
  bool CanListAll() const {
    const auto can = [&](const SiteFaults& f) {
      return f.Empty() || (f.steps.size() == 1 && CanList(f.steps[0], map_) &&
                           f.steps[0].model == Listed().front().model);
    };
    return !Listed().empty() && std::all_of(plans_.begin(), plans_.end(), can);
  }
  StrikeList DrawLists() {
    const std::vector<FaultStep> steps = Listed();
    StrikeJob job = MakeStrikeJob(map_, steps);
    job.lanes = lanes_.Data();
    const int64_t map_words = int64_t{job.tiles} * job.slots;
    strikes_.emplace_back(static_cast<size_t>(map_words * map_.lanes * map_.images));
    jobs_.emplace_back(std::vector<StrikeJob>{job});
    std::vector<JobChunk> chunks;
    for (int first = 0; first < job.tiles; first += job.chunk_tiles) chunks.push_back({0, first});
    chunks_.emplace_back(chunks);
    uint32_t* words = strikes_.back().Data();
    DrawStrikes({jobs_.back().Data(), chunks_.back().Data(), static_cast<int>(chunks.size()),
                 map_.lanes, map_.images, ids_.Data(), words},
                {});
    StrikeList list{words, map_words * map_.images, job.tiles,    job.slots,
                    0,     steps[0].model,          steps[0].bits};
    for (size_t l = 0; l < plans_.size(); ++l)
      list.lanes |= plans_[l].Empty() ? 0 : uint64_t{1} << l;
    return list;
  }
  // The words of the last list.
  std::vector<uint32_t> Strikes() const { return strikes_.back().Get(); }
  // Both counted the same. Returns the faults delivered.
  uint64_t CheckCounts() const {
    const std::vector<HitCounts> hits = hits_.Get();
    uint64_t all = 0;
    for (size_t l = 0; l < host_.size(); ++l) {
      for (const FaultStep& step : plans_[l].steps) {
        const TermCounts& want = counts_[l].term[step.term];
        const HitCounts& got = hits[l * kMaxFaultTerms + step.term];
        uint64_t delivered = 0, positive = 0;
        for (size_t k = 0; k < 16; ++k) {
          delivered += got.kind[k];
          positive += k < 8 ? 0 : got.kind[k];
          if (k < 8 && step.style == FaultStyle::kCells) {
            EXPECT_EQ(want.bit[k], got.kind[k] + got.kind[k + 8]) << "bit " << k;
          }
        }
        EXPECT_EQ(want.delivered, delivered) << "lane " << l;
        if (step.style != FaultStyle::kColumns) {
          EXPECT_EQ(want.positive, positive) << "lane " << l;
        }
        all += delivered;
      }
    }
    return all;
  }

 private:
  // The first steps of the lanes with faults.
  std::vector<FaultStep> Listed() const {
    std::vector<FaultStep> steps;
    for (const SiteFaults& f : plans_)
      if (!f.Empty()) steps.push_back(f.steps[0]);
    return steps;
  }

  MapShape map_;
  std::deque<SiteFaults> plans_;
  std::deque<FaultCounts> counts_;
  std::vector<LaneFaults> host_;
  StepMemory memory_;
  DeviceBuffer<uint32_t> ids_;
  DeviceBuffer<HitCounts> hits_;
  DeviceBuffer<LaneFaultSteps> lanes_;
  std::deque<DeviceBuffer<uint32_t>> strikes_;
  std::deque<DeviceBuffer<StrikeJob>> jobs_;
  std::deque<DeviceBuffer<JobChunk>> chunks_;
};

// Runs `launch` in both orders of threads under the emulation (results must not depend on it), once
// on a GPU and where races are found whatever the order is.
template <typename F>
void InBothOrders(const F& launch) {
#if defined(FTT_CUDA_EMULATION) && !defined(FTT_EMULATION_TSAN)
  for (const emulation::Order order : {emulation::Order::kForward, emulation::Order::kReverse}) {
    emulation::SetOrder(order);
    SCOPED_TRACE(order == emulation::Order::kForward ? "threads forward" : "threads in reverse");
    launch();
  }
  emulation::SetOrder(emulation::Order::kForward);
#else
  launch();
#endif
}

// Runs launch(ahead) with faults that kernels draw themselves and with lists, for LanePlans::View.
template <typename F>
void DrawnBothWays(const F& launch) {
  for (const bool ahead : {false, true}) InBothOrders([&] { launch(ahead); });
}

}  // namespace ftt::cuda::test
