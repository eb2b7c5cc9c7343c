#include "engine/cuda/staging.h"

#include <algorithm>

namespace ftt::cuda {
namespace {

constexpr int64_t kAlign = 256;
constexpr int64_t kBlockBytes = int64_t{2} << 20;

}  // namespace

Staging::Staging(int slots) : slots_(static_cast<size_t>(slots)) {}

void Staging::Begin() {
  slot_ = (slot_ + 1) % slots_.size();
  Slot& slot = slots_[slot_];
  slot.sent.Wait();
  slot.current = 0;
  for (Block& block : slot.blocks) block.used = block.sent = 0;
}

uint8_t* Staging::Take(int64_t bytes, uint8_t** device) {
  const int64_t rounded = (bytes + kAlign - 1) / kAlign * kAlign;
  Slot& slot = slots_[slot_];
  while (slot.current < slot.blocks.size()) {
    const Block& block = slot.blocks[slot.current];
    if (block.used + rounded <= block.host.Size()) break;
    ++slot.current;
  }
  if (slot.current == slot.blocks.size()) {
    const int64_t size = std::max(kBlockBytes, rounded);
    slot.blocks.push_back({PinnedMemory(size), DeviceMemory(size), 0, 0});
  }
  Block& block = slot.blocks[slot.current];
  uint8_t* host = block.host.Data() + block.used;
  *device = block.device.Data() + block.used;
  block.used += rounded;
  return host;
}

void Staging::Send(DeviceStream stream) {
  Slot& slot = slots_[slot_];
  for (Block& block : slot.blocks) {
    CopyToDevice(block.device.Data() + block.sent, block.host.Data() + block.sent,
                 block.used - block.sent, stream);
    block.sent = block.used;
  }
  slot.sent.Record(stream);
}

}  // namespace ftt::cuda
