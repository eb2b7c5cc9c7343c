// Labelled images in memory, and where they come from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ftt {

// Images of one size with their labels.
struct ImageSet {
  int height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;  // [Size()][height][width][channels]
  std::vector<uint8_t> labels;  // [Size()], each below Dataset::classes

  int64_t Size() const { return static_cast<int64_t>(labels.size()); }
  int64_t ImageBytes() const { return int64_t{height} * width * channels; }
  // The pixels of image i, 0 <= i < Size().
  const uint8_t* Image(int64_t i) const { return pixels.data() + i * ImageBytes(); }
};

struct Dataset {
  std::string name;  // cifar10, cifar100, mnist, fashion-mnist or shapes
  std::string spec;  // what gives the same data again: the name, for shapes with its sizes
  int classes = 0;
  std::vector<std::string> class_names;  // [classes]
  ImageSet train, test;
  // Per channel, of pixel / 255 over the training images: the published values for CIFAR, computed
  // for the others.
  std::vector<float> mean, stddev;
};

// Names that LoadDataset takes, in the order of the help text.
const std::vector<std::string>& DatasetNames();

// What NAME[:REST] names. Throws for an unknown name.
struct DatasetSpec {
  std::string name;
  std::string rest;  // folder, or the sizes of `shapes`; empty without
};
DatasetSpec ParseDatasetSpec(const std::string& spec);

// The seed that makes `shapes` the same data set everywhere.
inline constexpr uint64_t kShapesSeed = 20030;

// Loads NAME[:DIR], or shapes[:TRAIN,TEST] (default 10000,2000; each at most 1,000,000).
//
// DIR is the folder with the data files, or a parent of it under its usual name
// (cifar-10-batches-bin, cifar-100-binary, mnist, fashion-mnist). Without DIR the environment
// variable FTT_DATA_DIR is tried, then ./data. `seed_for_shapes` matters to `shapes` only.
//
// Throws ftt::Error for an unknown name, a missing folder or file, a file of the wrong size or
// kind, a label outside the classes, and counts that differ; the message names the file.
Dataset LoadDataset(const std::string& spec, uint64_t seed_for_shapes = kShapesSeed);

// The folder that holds the files of data set `name` (any but shapes): `dir` as described above,
// the usual places if it is empty. Throws with the list of places tried.
std::string FindDataFolder(const std::string& name, const std::string& dir);

// Sets mean and stddev from the training images. Sums are integers, so the result is the same on
// every machine.
void ComputeStatistics(Dataset* dataset);

// Per channel round(255 * mean): the value that stands for "nothing here" in cutout.
std::vector<uint8_t> MeanPixel(const Dataset& dataset);

}  // namespace ftt
