#include "core/tensorboard.h"

#include <array>
#include <cstring>

namespace ftt {
namespace {

constexpr std::array<uint32_t, 256> CrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
    table[i] = crc;
  }
  return table;
}

void AppendLittleEndian(uint64_t value, int bytes, std::string& out) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
}

// A CRC of data that holds CRCs is weak, so TFRecord rotates it and adds a constant.
void AppendMaskedCrc(std::string_view bytes, std::string& out) {
  const uint32_t crc = Crc32c(bytes);
  AppendLittleEndian(((crc >> 15) | (crc << 17)) + 0xA282EAD8u, 4, out);
}

// Protocol buffers: a field is its number and wire type, then the value.
enum class Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void AppendVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void AppendKey(uint32_t field, Wire wire, std::string& out) {
  AppendVarint(field << 3 | static_cast<uint32_t>(wire), out);
}

void AppendBytes(uint32_t field, std::string_view bytes, std::string& out) {
  AppendKey(field, Wire::kBytes, out);
  AppendVarint(bytes.size(), out);
  out += bytes;
}

void AppendDouble(uint32_t field, double value, std::string& out) {
  uint64_t word;
  std::memcpy(&word, &value, sizeof word);
  AppendKey(field, Wire::kFixed64, out);
  AppendLittleEndian(word, 8, out);
}

void AppendFloat(uint32_t field, float value, std::string& out) {
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  AppendKey(field, Wire::kFixed32, out);
  AppendLittleEndian(word, 4, out);
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = CrcTable();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(c)) & 0xFF];
  return ~crc;
}

std::string FrameRecord(std::string_view data) {
  std::string record;
  AppendLittleEndian(data.size(), 8, record);
  AppendMaskedCrc(std::string(record), record);
  record += data;
  AppendMaskedCrc(data, record);
  return record;
}

// Field numbers are those of tensorflow/core/util/event.proto and framework/summary.proto.
std::string EventFileHeader(double wall_time) {
  std::string event;
  AppendDouble(1, wall_time, event);
  AppendBytes(3, "brain.Event:2", event);
  return FrameRecord(event);
}

std::string ScalarEvent(double wall_time, int64_t step, std::span<const Scalar> scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars) {
    std::string value;
    AppendBytes(1, scalar.tag, value);
    AppendFloat(2, static_cast<float>(scalar.value), value);
    AppendBytes(1, value, summary);
  }
  std::string event;
  AppendDouble(1, wall_time, event);
  AppendKey(2, Wire::kVarint, event);
  AppendVarint(static_cast<uint64_t>(step), event);
  AppendBytes(5, summary, event);
  return FrameRecord(event);
}

}  // namespace ftt
