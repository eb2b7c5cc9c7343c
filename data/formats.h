// Readers of the file formats: CIFAR binary and IDX. All throw ftt::Error that names the file and
// what is wrong with it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace ftt {

// A CIFAR binary file is a row of records: label bytes, then 3072 pixel bytes as red, green and
// blue plane of 32x32. Source: https://www.cs.toronto.edu/~kriz/cifar.html
struct CifarLayout {
  int label_bytes;  // 1 (CIFAR-10), or 2 (CIFAR-100: coarse, fine); the last one is the class
  int classes;
  int64_t RecordBytes() const { return label_bytes + 3072; }
};
inline constexpr CifarLayout kCifar10Layout{1, 10};
inline constexpr CifarLayout kCifar100Layout{2, 100};

// The files of a data set in its official binary form, with the images in each.
struct CifarFile {
  const char* name;
  int64_t images;
  bool train;
};
const std::vector<CifarFile>& CifarFiles(const CifarLayout& layout);

// Appends the `images` records of the file at `path` to `set` (32x32x3), which may be empty. Throws
// unless the file has exactly that many records with labels below layout.classes.
void AppendCifarFile(const std::string& path, const CifarLayout& layout, int64_t images,
                     ImageSet* set);

// The first `count` images as CIFAR-10 records; of other sizes: a byte with the label, then one
// plane per channel.
std::string CifarRecords(const ImageSet& set, int64_t count);

// Reads an IDX pair, each file gzipped or not: unsigned bytes, 3 dimensions for the images and 1
// for the labels. The count comes from the header. Throws where images and labels differ in number,
// sizes disagree with the header, or a label is not below `classes`. Source:
// http://yann.lecun.com/exdb/mnist/
ImageSet ReadIdxPair(const std::string& image_path, const std::string& label_path, int classes);

// Paths of the IDX files in a folder.
struct IdxPaths {
  std::string train_images, train_labels, test_images, test_labels;
};

// Finds train-* and t10k-* (or, for a cut test set, t<N>k-*) images and labels in `dir`, with or
// without .gz, with '-' or
// '.' before idx. An entry that is missing is empty.
IdxPaths FindIdxFiles(const std::string& dir);

// The bytes of a file; if it is gzip (by its first bytes, not its name), what it decompresses to.
// Throws where the stream is truncated, fails its checksum or is larger than `max_bytes`.
std::string ReadMaybeGzip(const std::string& path, int64_t max_bytes);

}  // namespace ftt
