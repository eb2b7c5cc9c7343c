#include "core/tensor_file.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/digest.h"
#include "core/error.h"
#include "core/file.h"

static_assert(std::endian::native == std::endian::little, "the file holds the memory's bytes");

namespace ftt {
namespace {

using Json = nlohmann::json;

constexpr const char* kMetadataKey = "__metadata__";
constexpr const char* kChecksumKey = "sha256";
constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
const std::string kNoChecksum(64, '0');            // in place of the checksum while it is computed

struct TypeInfo {
  TensorType type;
  const char* name;
  int64_t bytes;
};
constexpr TypeInfo kTypes[] = {
    {TensorType::kF32, "F32", 4}, {TensorType::kF64, "F64", 8}, {TensorType::kI8, "I8", 1},
    {TensorType::kU8, "U8", 1},   {TensorType::kI32, "I32", 4}, {TensorType::kI64, "I64", 8},
    {TensorType::kU64, "U64", 8},
};

const TypeInfo& InfoOf(TensorType type) { return kTypes[static_cast<size_t>(type)]; }

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t extent : shape)
    text += fmt::format("{}{}", text.size() > 1 ? "," : "", extent);
  return text + "]";
}

// Bytes of a tensor, or -1 for a negative extent or an overflow.
int64_t ByteCount(TensorType type, const std::vector<int64_t>& shape) {
  int64_t bytes = InfoOf(type).bytes;
  for (const int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) return -1;
  }
  return bytes;
}

[[noreturn]] void FailCorrupted(const std::string& path, const std::string& why) {
  Fail("corrupted checkpoint file {}: {}", path, why);
}

// Order of the values in the file: wide types first keeps every tensor aligned to its type.
std::vector<const NamedTensor*> FileOrder(const std::map<std::string, NamedTensor>& tensors) {
  std::vector<const NamedTensor*> order;
  for (const auto& [name, tensor] : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return InfoOf(a->type).bytes > InfoOf(b->type).bytes;
  });
  return order;
}

std::string LengthPrefix(uint64_t length) {
  std::string prefix(kLengthBytes, '\0');
  std::memcpy(prefix.data(), &length, kLengthBytes);
  return prefix;
}

// One entry of the header with its place in the data.
struct Entry {
  NamedTensor tensor;
  uint64_t begin = 0;
  uint64_t end = 0;
};

Entry ParseEntry(const std::string& name, const Json& json, const std::string& path) {
  Entry entry;
  entry.tensor.name = name;
  try {
    const auto type_name = json.at("dtype").get<std::string>();
    const auto* info = std::find_if(std::begin(kTypes), std::end(kTypes),
                                    [&](const TypeInfo& t) { return t.name == type_name; });
    if (info == std::end(kTypes)) {
      FailCorrupted(path, fmt::format("tensor {} has the unknown type '{}'", name, type_name));
    }
    entry.tensor.type = info->type;
    for (const Json& extent : json.at("shape")) {
      if (!extent.is_number_unsigned()) {
        FailCorrupted(path, fmt::format("tensor {} has a bad shape", name));
      }
      entry.tensor.shape.push_back(extent.get<int64_t>());
    }
    const Json& offsets = json.at("data_offsets");
    if (offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      FailCorrupted(path, fmt::format("tensor {} has bad offsets", name));
    }
    entry.begin = offsets[0].get<uint64_t>();
    entry.end = offsets[1].get<uint64_t>();
  } catch (const Json::exception&) {
    FailCorrupted(path, fmt::format("the header entry of tensor {} is malformed", name));
  }
  const int64_t bytes = ByteCount(entry.tensor.type, entry.tensor.shape);
  if (bytes < 0 || entry.end < entry.begin ||
      entry.end - entry.begin != static_cast<uint64_t>(bytes)) {
    FailCorrupted(path, fmt::format("tensor {} of shape {} and type {} does not fill bytes {}..{}",
                                    name, ShapeText(entry.tensor.shape),
                                    InfoOf(entry.tensor.type).name, entry.begin, entry.end));
  }
  return entry;
}

Json ParseHeader(std::string_view header, const std::string& path) {
  Json json = Json::parse(header, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) FailCorrupted(path, "the header is not a JSON object");
  return json;
}

std::map<std::string, std::string> ParseMetadata(const Json& json, const std::string& path) {
  std::map<std::string, std::string> metadata;
  const auto found = json.find(kMetadataKey);
  if (found == json.end()) return metadata;
  if (!found->is_object()) FailCorrupted(path, "the metadata is not a JSON object");
  for (const auto& [key, value] : found->items()) {
    if (!value.is_string()) FailCorrupted(path, fmt::format("metadata '{}' is not text", key));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

// The checksum covers the header, with zeros where the checksum itself stands, and the data.
std::string ChecksumOf(std::string_view header, std::string_view data) {
  Digest digest(DigestKind::kSha256);
  digest.Update(header);
  digest.Update(data);
  return digest.Finish();
}

void VerifyChecksum(std::string header, std::string_view data, const std::string& stated,
                    const std::string& path) {
  const size_t place = header.find(stated);
  if (stated.size() != kNoChecksum.size() || place == std::string::npos) {
    FailCorrupted(path, "its checksum is malformed");
  }
  header.replace(place, stated.size(), kNoChecksum);
  if (ChecksumOf(header, data) != stated) {
    FailCorrupted(path, "its content does not match its checksum");
  }
}

}  // namespace

int64_t TensorTypeBytes(TensorType type) { return InfoOf(type).bytes; }
const char* TensorTypeName(TensorType type) { return InfoOf(type).name; }

void TensorFile::Add(NamedTensor tensor) {
  FTT_CHECK(!tensor.name.empty() && tensor.name != kMetadataKey, "bad tensor name '{}'",
            tensor.name);
  const int64_t bytes = ByteCount(tensor.type, tensor.shape);
  FTT_CHECK(bytes >= 0 && tensor.data.size() == static_cast<size_t>(bytes),
            "tensor {} of shape {} and type {} cannot hold {} bytes", tensor.name,
            ShapeText(tensor.shape), TensorTypeName(tensor.type), tensor.data.size());
  std::string name = tensor.name;
  const auto [place, added] = tensors_.emplace(std::move(name), std::move(tensor));
  FTT_CHECK(added, "tensor {} was added twice", place->first);
}

const NamedTensor& TensorFile::Get(const std::string& name) const {
  const auto found = tensors_.find(name);
  FTT_CHECK(found != tensors_.end(),
            "{} holds no tensor {}; it belongs to another network or an older version", path_,
            name);
  return found->second;
}

const NamedTensor& TensorFile::GetChecked(const std::string& name, TensorType type,
                                          const std::vector<int64_t>& shape) const {
  const NamedTensor& tensor = Get(name);
  FTT_CHECK(tensor.shape == shape && tensor.type == type,
            "tensor {} in {} is {}{}, expected {}{}; the file belongs to another network", name,
            path_, TensorTypeName(tensor.type), ShapeText(tensor.shape), TensorTypeName(type),
            ShapeText(shape));
  return tensor;
}

void TensorFile::CheckCopySize(const std::string& name, size_t have, size_t want) const {
  FTT_CHECK(have == want, "tensor {} in {} has {} elements, expected {}", name, path_, have, want);
}

std::vector<std::string> TensorFile::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

void TensorFile::SetMetadata(const std::string& key, std::string value) {
  FTT_CHECK(key != kChecksumKey, "metadata '{}' is written by the file itself", key);
  metadata_[key] = std::move(value);
}

const std::string& TensorFile::Metadata(const std::string& key) const {
  const auto found = metadata_.find(key);
  FTT_CHECK(found != metadata_.end(), "{} holds no metadata '{}'", path_, key);
  return found->second;
}

std::string TensorFile::Serialize() const {
  Json json = Json::object();
  std::string data;
  for (const NamedTensor* tensor : FileOrder(tensors_)) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor->data.data()), tensor->data.size());
    json[tensor->name] = {{"dtype", TensorTypeName(tensor->type)},
                          {"shape", tensor->shape},
                          {"data_offsets", {begin, data.size()}}};
  }
  json[kMetadataKey] = metadata_;
  json[kMetadataKey][kChecksumKey] = kNoChecksum;
  std::string header = json.dump();
  header.resize((header.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
  json[kMetadataKey][kChecksumKey] = ChecksumOf(header, data);
  const size_t padded = header.size();
  header = json.dump();
  header.resize(padded, ' ');
  return LengthPrefix(header.size()) + header + data;
}

void TensorFile::Save(const std::string& path) const { AtomicWriteFile(path, Serialize()); }

TensorFile TensorFile::Parse(std::string_view bytes, const std::string& path, Checksum checksum) {
  uint64_t header_bytes = 0;
  if (bytes.size() < kLengthBytes) FailCorrupted(path, "it is truncated");
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - kLengthBytes) {
    FailCorrupted(path, "it is truncated, or no safetensors file");
  }
  const std::string_view header = bytes.substr(kLengthBytes, header_bytes);
  const std::string_view data = bytes.substr(kLengthBytes + header_bytes);

  TensorFile file;
  file.path_ = path;
  const Json json = ParseHeader(header, path);
  file.metadata_ = ParseMetadata(json, path);
  std::vector<Entry> entries;
  for (const auto& [name, value] : json.items()) {
    if (name != kMetadataKey) entries.push_back(ParseEntry(name, value, path));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t position = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != position) {
      FailCorrupted(
          path, fmt::format("tensor {} overlaps another one or leaves a hole", entry.tensor.name));
    }
    position = entry.end;
  }
  if (position != data.size()) {
    FailCorrupted(path,
                  fmt::format("{} bytes of data where its header says {}; it is {}", data.size(),
                              position, data.size() < position ? "truncated" : "too long"));
  }
  const auto stated = file.metadata_.find(kChecksumKey);
  if (stated != file.metadata_.end()) {
    VerifyChecksum(std::string(header), data, stated->second, path);
    file.metadata_.erase(stated);
  } else if (checksum == Checksum::kRequired) {
    FailCorrupted(path, "it has no checksum");
  }
  for (Entry& entry : entries) {
    const auto* first = reinterpret_cast<const std::byte*>(data.data());
    entry.tensor.data.assign(first + entry.begin, first + entry.end);
    file.Add(std::move(entry.tensor));
  }
  return file;
}

TensorFile TensorFile::Load(const std::string& path, Checksum checksum) {
  return Parse(ReadFile(path), path, checksum);
}

}  // namespace ftt
