// Records of TensorBoard's event files (events.out.tfevents.*): TFRecord frames around protocol
// buffers of type tensorflow.Event. A file is EventFileHeader followed by any number of
// ScalarEvents.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ftt {

struct Scalar {
  std::string tag;  // "group/name"
  double value = 0;
};

// wall_time: seconds since 1970.
std::string EventFileHeader(double wall_time);
// One event that holds all `scalars` of a step; values become float32.
std::string ScalarEvent(double wall_time, int64_t step, std::span<const Scalar> scalars);

// TFRecord frame: length (u64), masked CRC of the length, data, masked CRC of the data; all little
// endian.
std::string FrameRecord(std::string_view data);
// CRC-32C (Castagnoli, RFC 3720 appendix B.4).
uint32_t Crc32c(std::string_view bytes);

}  // namespace ftt
