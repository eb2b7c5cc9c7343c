#include "engine/cuda/staging.h"

#include <algorithm>

namespace ftt::cuda {
namespace {

constexpr int64_t kAlign = 256;
constexpr int64_t kBlockBytes = int64_t{2} << 20;

}  // namespace

Staging::Staging(int slots) : slots_(static_cast<size_t>(slots)) {}

Staging Staging::Counting() { return Staging(0); }

void Staging::Begin() {
  current_ = 0;
  for (Block& block : blocks_) block.used = 0;
  if (slots_.empty()) return;
  slot_ = (slot_ + 1) % slots_.size();
  slots_[slot_].sent.Wait();
}

Staging::Place Staging::Take(int64_t bytes) {
  const bool counting = slots_.empty();
  const int64_t rounded = (bytes + kAlign - 1) / kAlign * kAlign;
  while (current_ < blocks_.size() && blocks_[current_].used + rounded > blocks_[current_].size)
    ++current_;
  if (current_ == blocks_.size()) {
    const int64_t size = std::max(kBlockBytes, rounded);
    blocks_.push_back({counting ? DeviceMemory() : DeviceMemory(size), size, 0});
  }
  Block& block = blocks_[current_];
  const int64_t at = block.used;
  block.used += rounded;
  if (counting) return {};
  std::deque<PinnedMemory>& host = slots_[slot_].blocks;
  while (host.size() <= current_) host.emplace_back(blocks_[host.size()].size);
  return {host[current_].Data() + at, block.memory.Data() + at};
}

void Staging::Send(DeviceStream stream) {
  Slot& slot = slots_[slot_];
  for (size_t i = 0; i < slot.blocks.size(); ++i)
    CopyToDevice(blocks_[i].memory.Data(), slot.blocks[i].Data(), blocks_[i].used, stream);
  slot.sent.Record(stream);
}

int64_t Staging::DeviceBytes() const {
  int64_t bytes = 0;
  for (const Block& block : blocks_) bytes += block.size;
  return bytes;
}

}  // namespace ftt::cuda
