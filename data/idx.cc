#include <zlib.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "data/formats.h"

namespace ftt {
namespace {

constexpr int64_t kMaxIdxBytes = int64_t{1} << 31;
constexpr uint32_t kMaxSide = 1024;

uint32_t BigEndian(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

// Checks an IDX header of unsigned bytes and returns its dimensions.
std::vector<uint32_t> ParseHeader(const std::string& path, const std::string& bytes,
                                  uint32_t dimensions, const char* what) {
  const size_t header = 4 + 4 * size_t{dimensions};
  FTT_CHECK(bytes.size() >= header, "{}: {} bytes are too few for the header of an IDX {} file",
            path, bytes.size(), what);
  const uint32_t magic = BigEndian(bytes, 0), expected = 0x800 | dimensions;
  FTT_CHECK(magic == expected, "{}: magic number {:#010x}, expected {:#010x} of an IDX {} file",
            path, magic, expected, what);
  std::vector<uint32_t> sizes;
  for (uint32_t d = 0; d < dimensions; ++d) sizes.push_back(BigEndian(bytes, 4 + 4 * size_t{d}));
  FTT_CHECK(sizes[0] > 0, "{}: holds no {}", path, what);
  uint64_t payload = sizes[0];
  for (uint32_t d = 1; d < dimensions; ++d) {
    FTT_CHECK(sizes[d] >= 1 && sizes[d] <= kMaxSide, "{}: image side {} is outside 1..{}", path,
              sizes[d], kMaxSide);
    payload *= sizes[d];
  }
  FTT_CHECK(
      bytes.size() - header == payload,
      "{}: the header announces {} {} ({} bytes), the file has {} bytes after it: truncated or "
      "damaged; fetch it again",
      path, sizes[0], what, payload, bytes.size() - header);
  return sizes;
}

struct EndInflate {
  void operator()(z_stream* stream) const { inflateEnd(stream); }
};

// `prefix` is "train" or "t<digits>k", `kind` images or labels.
bool IsIdxName(std::string name, bool train, const std::string& kind, int rank) {
  if (name.ends_with(".gz")) name.resize(name.size() - 3);
  const std::string tail = kind + "-idx" + std::to_string(rank) + "-ubyte";
  const std::string dotted = kind + ".idx" + std::to_string(rank) + "-ubyte";
  const size_t dash = name.find('-');
  if (dash == std::string::npos) return false;
  const std::string rest = name.substr(dash + 1);
  if (rest != tail && rest != dotted) return false;
  const std::string prefix = name.substr(0, dash);
  if (train) return prefix == "train";
  return prefix.size() >= 3 && prefix.front() == 't' && prefix.back() == 'k' &&
         std::all_of(prefix.begin() + 1, prefix.end() - 1,
                     [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

std::string ReadMaybeGzip(const std::string& path, int64_t max_bytes) {
  FTT_CHECK(PathExists(path), "{} is missing: the data set is incomplete, fetch it again", path);
  std::string raw = ReadFile(path, max_bytes);
  if (raw.size() < 2 || raw[0] != '\x1f' || raw[1] != '\x8b') return raw;

  z_stream state{};
  FTT_CHECK(inflateInit2(&state, 16 + MAX_WBITS) == Z_OK, "{}: cannot start zlib", path);
  const std::unique_ptr<z_stream, EndInflate> stream(&state);
  state.next_in = reinterpret_cast<Bytef*>(raw.data());
  state.avail_in = static_cast<uInt>(raw.size());
  std::string out;
  size_t used = 0;
  int code = Z_OK;
  while (code != Z_STREAM_END) {
    out.resize(std::max<size_t>(1 << 20, used * 2));
    state.next_out = reinterpret_cast<Bytef*>(out.data() + used);
    state.avail_out = static_cast<uInt>(out.size() - used);
    code = inflate(&state, Z_NO_FLUSH);
    used = out.size() - state.avail_out;
    FTT_CHECK(code == Z_OK || code == Z_STREAM_END,
              "{}: gzip data is truncated or damaged ({}); fetch it again", path,
              state.msg != nullptr ? state.msg : "unexpected end");
    FTT_CHECK(static_cast<int64_t>(used) <= max_bytes, "{}: decompresses to more than {} bytes",
              path, max_bytes);
  }
  FTT_CHECK(state.avail_in == 0, "{}: {} bytes follow the end of the gzip data; fetch it again",
            path, state.avail_in);
  out.resize(used);
  return out;
}

ImageSet ReadIdxPair(const std::string& image_path, const std::string& label_path, int classes) {
  std::string images = ReadMaybeGzip(image_path, kMaxIdxBytes);
  const std::vector<uint32_t> sizes = ParseHeader(image_path, images, 3, "images");
  const std::string labels = ReadMaybeGzip(label_path, kMaxIdxBytes);
  const std::vector<uint32_t> count = ParseHeader(label_path, labels, 1, "labels");
  FTT_CHECK(count[0] == sizes[0],
            "{} has {} labels, but {} has {} images: they do not belong together", label_path,
            count[0], image_path, sizes[0]);
  ImageSet set;
  set.height = static_cast<int>(sizes[1]);
  set.width = static_cast<int>(sizes[2]);
  set.channels = 1;
  set.labels.assign(labels.begin() + 8, labels.end());
  for (size_t i = 0; i < set.labels.size(); ++i) {
    FTT_CHECK(set.labels[i] < classes, "{}: label {} of image {} is outside 0..{}", label_path,
              set.labels[i], i, classes - 1);
  }
  set.pixels.assign(images.begin() + 16, images.end());
  return set;
}

IdxPaths FindIdxFiles(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code code;
  for (std::filesystem::directory_iterator it(dir, code), end; !code && it != end;
       it.increment(code)) {
    names.push_back(it->path().filename().string());
  }
  // Shorter first, then by name: the unpacked file before the .gz, whatever order the system lists
  // them in.
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return std::pair(a.size(), a) < std::pair(b.size(), b);
  });
  const auto find = [&](bool train, const char* kind, int rank) -> std::string {
    for (const std::string& name : names) {
      if (IsIdxName(name, train, kind, rank)) return dir + "/" + name;
    }
    return "";
  };
  return {find(true, "images", 3), find(true, "labels", 1), find(false, "images", 3),
          find(false, "labels", 1)};
}

}  // namespace ftt
