#include <algorithm>
#include <cstddef>

#include "core/error.h"
#include "core/file.h"
#include "data/formats.h"

namespace ftt {
namespace {

constexpr int kSide = 32;
constexpr size_t kPlane = size_t{kSide} * kSide;

void Interleave(const uint8_t* planes, uint8_t* pixels) {
  for (size_t i = 0; i < kPlane; ++i) {
    pixels[3 * i] = planes[i];
    pixels[3 * i + 1] = planes[kPlane + i];
    pixels[3 * i + 2] = planes[2 * kPlane + i];
  }
}

}  // namespace

const std::vector<CifarFile>& CifarFiles(const CifarLayout& layout) {
  static const std::vector<CifarFile> kCifar10 = {
      {"data_batch_1.bin", 10000, true}, {"data_batch_2.bin", 10000, true},
      {"data_batch_3.bin", 10000, true}, {"data_batch_4.bin", 10000, true},
      {"data_batch_5.bin", 10000, true}, {"test_batch.bin", 10000, false}};
  static const std::vector<CifarFile> kCifar100 = {{"train.bin", 50000, true},
                                                   {"test.bin", 10000, false}};
  return layout.label_bytes == 1 ? kCifar10 : kCifar100;
}

void AppendCifarFile(const std::string& path, const CifarLayout& layout, int64_t images,
                     ImageSet* set) {
  FTT_CHECK(PathExists(path), "{} is missing: the data set is incomplete, fetch it again", path);
  const std::string bytes = ReadFile(path);
  const int64_t size = static_cast<int64_t>(bytes.size());
  const int64_t record = layout.RecordBytes();
  FTT_CHECK(size % record == 0,
            "{}: {} bytes are not a multiple of the {}-byte record: the file is truncated or not a "
            "CIFAR-{} binary file; fetch it again",
            path, size, record, layout.classes);
  FTT_CHECK(size == images * record, "{}: has {} records, expected {}; fetch it again", path,
            size / record, images);

  set->height = set->width = kSide;
  set->channels = 3;
  const size_t first = set->labels.size();
  set->labels.resize(first + static_cast<size_t>(images));
  set->pixels.resize(set->labels.size() * 3 * kPlane);
  const uint8_t* in = reinterpret_cast<const uint8_t*>(bytes.data());
  for (size_t i = first; i < set->labels.size(); ++i, in += record) {
    const int label = in[layout.label_bytes - 1];
    FTT_CHECK(label < layout.classes,
              "{}: record {} has label {}, outside 0..{}: not a CIFAR-{} binary file, or damaged; "
              "fetch it again",
              path, i - first, label, layout.classes - 1, layout.classes);
    set->labels[i] = static_cast<uint8_t>(label);
    Interleave(in + layout.label_bytes, &set->pixels[i * 3 * kPlane]);
  }
}

std::string CifarRecords(const ImageSet& set, int64_t count) {
  FTT_CHECK(count >= 0 && count <= set.Size(), "{} of {} images asked for", count, set.Size());
  std::string records;
  for (int64_t i = 0; i < count; ++i) {
    records += static_cast<char>(set.labels[static_cast<size_t>(i)]);
    for (int c = 0; c < set.channels; ++c) {
      for (int64_t at = c; at < set.ImageBytes(); at += set.channels)
        records += static_cast<char>(set.Image(i)[at]);
    }
  }
  return records;
}

}  // namespace ftt
