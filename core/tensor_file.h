// Named tensors in one file, in the safetensors format
// (https://github.com/huggingface/safetensors): an 8-byte little-endian header length, a JSON
// header, then the raw little-endian values.
//
// The same content always gives the same bytes. A SHA-256 over header and data stands in the
// metadata, so that a changed byte anywhere is found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ftt {

enum class TensorType { kF32, kF64, kI8, kU8, kI32, kI64, kU64 };

int64_t TensorTypeBytes(TensorType type);
const char* TensorTypeName(TensorType type);  // as in the file: "F32", "I8", ...

template <typename T>
constexpr TensorType TensorTypeOf() = delete;
template <>
constexpr TensorType TensorTypeOf<float>() {
  return TensorType::kF32;
}
template <>
constexpr TensorType TensorTypeOf<double>() {
  return TensorType::kF64;
}
template <>
constexpr TensorType TensorTypeOf<int8_t>() {
  return TensorType::kI8;
}
template <>
constexpr TensorType TensorTypeOf<uint8_t>() {
  return TensorType::kU8;
}
template <>
constexpr TensorType TensorTypeOf<int32_t>() {
  return TensorType::kI32;
}
template <>
constexpr TensorType TensorTypeOf<int64_t>() {
  return TensorType::kI64;
}
template <>
constexpr TensorType TensorTypeOf<uint64_t>() {
  return TensorType::kU64;
}

struct NamedTensor {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<int64_t> shape;   // empty: a scalar; any extent may be 0
  std::vector<std::byte> data;  // dense, row-major
};

class TensorFile {
 public:
  // Adds a tensor. Throws when the name is empty, reserved or taken, or the size does not fit the
  // shape.
  void Add(NamedTensor tensor);
  template <typename T>
  void Add(std::string name, std::vector<int64_t> shape, std::span<const T> values) {
    NamedTensor tensor{std::move(name), TensorTypeOf<T>(), std::move(shape), {}};
    const auto bytes = std::as_bytes(values);
    tensor.data.assign(bytes.begin(), bytes.end());
    Add(std::move(tensor));
  }
  template <typename T>
  void Add(std::string name, std::vector<int64_t> shape, const std::vector<T>& values) {
    Add(std::move(name), std::move(shape), std::span<const T>(values));
  }

  bool Has(const std::string& name) const { return tensors_.contains(name); }
  // Throws when there is none of that name.
  const NamedTensor& Get(const std::string& name) const;
  // Values of a tensor that must be there with this shape and type; throws with both shapes
  // otherwise. The span lives as long as this object.
  template <typename T>
  std::span<const T> Find(const std::string& name, const std::vector<int64_t>& shape) const {
    const NamedTensor& tensor = GetChecked(name, TensorTypeOf<T>(), shape);
    return {reinterpret_cast<const T*>(tensor.data.data()), tensor.data.size() / sizeof(T)};
  }
  // Copies the values of such a tensor to `out`, whose size must be the tensor's.
  template <typename T>
  void CopyTo(const std::string& name, const std::vector<int64_t>& shape, std::span<T> out) const {
    const std::span<const T> values = Find<T>(name, shape);
    CheckCopySize(name, values.size(), out.size());
    if (!values.empty()) std::memcpy(out.data(), values.data(), values.size_bytes());
  }
  std::vector<std::string> Names() const;  // sorted
  size_t Size() const { return tensors_.size(); }

  // Free text beside the tensors; the key "sha256" is taken.
  void SetMetadata(const std::string& key, std::string value);
  const std::map<std::string, std::string>& Metadata() const { return metadata_; }
  // Throws when the key is missing.
  const std::string& Metadata(const std::string& key) const;

  std::string Serialize() const;
  void Save(const std::string& path) const;  // atomically

  enum class Checksum { kRequired, kIfPresent };
  // `path` is for messages. Throws on truncation, a malformed header, offsets that overlap, leave
  // holes or leave the file, sizes that do not fit the shapes, and on a checksum that is wrong (or
  // missing, where it is required).
  static TensorFile Parse(std::string_view bytes, const std::string& path,
                          Checksum checksum = Checksum::kRequired);
  static TensorFile Load(const std::string& path, Checksum checksum = Checksum::kRequired);

 private:
  const NamedTensor& GetChecked(const std::string& name, TensorType type,
                                const std::vector<int64_t>& shape) const;
  void CheckCopySize(const std::string& name, size_t have, size_t want) const;

  std::string path_ = "(unsaved tensors)";
  std::map<std::string, NamedTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace ftt
