#include "data/dataset.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "core/error.h"
#include "core/file.h"
#include "data/class_names.h"
#include "data/formats.h"
#include "data/shapes.h"

namespace ftt {
namespace {

constexpr int kMaxShapes = 1'000'000;

struct Family {
  const char* name;
  std::vector<const char*> folders;  // below a parent, in the order tried
  bool bare_parent;                  // may the files lie in the default places themselves?
};

const Family& FamilyOf(const std::string& name) {
  static const std::vector<Family> kFamilies = {
      {"cifar10", {"cifar-10-batches-bin"}, true},
      {"cifar100", {"cifar-100-binary"}, true},
      {"mnist", {"mnist", "MNIST/raw"}, true},
      // Its files bear the names of MNIST's, so a folder that does not say what it holds is not
      // taken unasked.
      {"fashion-mnist", {"fashion-mnist", "FashionMNIST/raw"}, false}};
  for (const Family& family : kFamilies) {
    if (name == family.name) return family;
  }
  Fail("data set '{}' is not read from files", name);
}

bool HoldsFiles(const std::string& name, const std::string& dir) {
  if (name == "cifar10" || name == "cifar100") {
    const auto& files = CifarFiles(name == "cifar10" ? kCifar10Layout : kCifar100Layout);
    return std::any_of(files.begin(), files.end(),
                       [&](const CifarFile& f) { return PathExists(dir + "/" + f.name); });
  }
  const IdxPaths paths = FindIdxFiles(dir);
  return !(paths.train_images + paths.train_labels + paths.test_images + paths.test_labels).empty();
}

int ParseCount(const std::string& spec, std::string_view text) {
  int value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  FTT_CHECK(
      code == std::errc() && end == text.data() + text.size() && value >= 1 && value <= kMaxShapes,
      "data set '{}': write shapes:TRAIN,TEST with two numbers of images in 1..{}", spec,
      kMaxShapes);
  return value;
}

Dataset LoadShapes(const std::string& rest, uint64_t seed) {
  Dataset data;
  int train = 10000, test = 2000;
  if (!rest.empty()) {
    const std::string spec = "shapes:" + rest;
    const size_t comma = rest.find(',');
    FTT_CHECK(comma != std::string::npos,
              "data set '{}': write shapes:TRAIN,TEST with two numbers of images in 1..{}", spec,
              kMaxShapes);
    train = ParseCount(spec, std::string_view(rest).substr(0, comma));
    test = ParseCount(spec, std::string_view(rest).substr(comma + 1));
  }
  data.train = MakeShapes(seed, 0, train);
  data.test = MakeShapes(seed, kFirstTestShape, test);
  ComputeStatistics(&data);
  return data;
}

Dataset LoadCifar(const std::string& dir, const CifarLayout& layout) {
  Dataset data;
  for (ImageSet* set : {&data.train, &data.test}) {
    int64_t images = 0;
    for (const CifarFile& file : CifarFiles(layout)) {
      images += file.train == (set == &data.train) ? file.images : 0;
    }
    set->pixels.reserve(static_cast<size_t>(images) * 3072);  // appending without moving
  }
  for (const CifarFile& file : CifarFiles(layout)) {
    AppendCifarFile(dir + "/" + file.name, layout, file.images,
                    file.train ? &data.train : &data.test);
  }
  if (layout.classes == 10) {
    data.mean = {0.49139968f, 0.48215827f, 0.44653124f};
    data.stddev = {0.24703233f, 0.24348505f, 0.26158768f};
  } else {
    data.mean = {0.50707516f, 0.48654887f, 0.44091784f};
    data.stddev = {0.26733429f, 0.25643846f, 0.27615047f};
  }
  return data;
}

Dataset LoadIdx(const std::string& dir) {
  const IdxPaths paths = FindIdxFiles(dir);
  const auto need = [&](const std::string& path, const char* name) {
    FTT_CHECK(!path.empty(),
              "{}/{} (or {}.gz) is missing: the data set is incomplete, fetch it again", dir, name,
              name);
  };
  need(paths.train_images, "train-images-idx3-ubyte");
  need(paths.train_labels, "train-labels-idx1-ubyte");
  need(paths.test_images, "t10k-images-idx3-ubyte");
  need(paths.test_labels, "t10k-labels-idx1-ubyte");
  Dataset data;
  data.train = ReadIdxPair(paths.train_images, paths.train_labels, 10);
  data.test = ReadIdxPair(paths.test_images, paths.test_labels, 10);
  FTT_CHECK(data.train.height == data.test.height && data.train.width == data.test.width,
            "{} holds {}x{} images, {} {}x{}: they do not belong together", paths.train_images,
            data.train.height, data.train.width, paths.test_images, data.test.height,
            data.test.width);
  ComputeStatistics(&data);
  return data;
}

}  // namespace

const std::vector<std::string>& DatasetNames() {
  static const std::vector<std::string> kNames = {"shapes", "cifar10", "cifar100", "mnist",
                                                  "fashion-mnist"};
  return kNames;
}

DatasetSpec ParseDatasetSpec(const std::string& spec) {
  const size_t colon = spec.find(':');
  DatasetSpec parsed{spec.substr(0, colon),
                     colon == std::string::npos ? "" : spec.substr(colon + 1)};
  const auto& names = DatasetNames();
  if (std::find(names.begin(), names.end(), parsed.name) == names.end()) {
    std::string list;
    for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
    Fail("unknown data set '{}': write NAME[:DIR] with one of {}", parsed.name, list);
  }
  FTT_CHECK(colon == std::string::npos || !parsed.rest.empty(),
            "data set '{}': nothing follows the colon", spec);
  return parsed;
}

std::string FindDataFolder(const std::string& name, const std::string& dir) {
  const Family& family = FamilyOf(name);
  std::vector<std::string> parents;
  const char* variable = std::getenv("FTT_DATA_DIR");
  if (!dir.empty()) {
    FTT_CHECK(IsDirectory(dir), "data set {}: folder {} {}", name, dir,
              PathExists(dir) ? "is a file; give the folder it lies in" : "does not exist");
    parents.push_back(dir);
  } else {
    if (variable != nullptr && *variable != '\0') parents.push_back(variable);
    parents.push_back("data");
  }
  std::string tried;
  for (const std::string& parent : parents) {
    std::vector<std::string> places;
    for (const char* folder : family.folders) places.push_back(parent + "/" + folder);
    if (family.bare_parent || !dir.empty()) places.push_back(parent);
    for (const std::string& place : places) {
      if (HoldsFiles(name, place)) return place;
      tried += (tried.empty() ? "" : ", ") + place;
    }
  }
  const std::string hint = dir.empty() && variable == nullptr ? ", or set FTT_DATA_DIR" : "";
  const bool fetched = name == "cifar10" || name == "cifar100";
  Fail("data set {}: no data files in {}; give the folder as {}:DIR{}, or {}", name, tried, name,
       hint,
       fetched ? fmt::format("get the data with `ftt-cuda data fetch {} DIR`", name)
               : "put its four idx-ubyte files (gzipped or not) there");
}

Dataset LoadDataset(const std::string& spec, uint64_t seed_for_shapes) {
  const DatasetSpec parsed = ParseDatasetSpec(spec);
  Dataset data;
  if (parsed.name == "shapes") {
    data = LoadShapes(parsed.rest, seed_for_shapes);
  } else {
    const std::string dir = FindDataFolder(parsed.name, parsed.rest);
    if (parsed.name == "cifar10") {
      data = LoadCifar(dir, kCifar10Layout);
    } else if (parsed.name == "cifar100") {
      data = LoadCifar(dir, kCifar100Layout);
    } else {
      data = LoadIdx(dir);
    }
  }
  data.name = parsed.name;
  data.spec = parsed.name == "shapes" ? spec : parsed.name;
  data.class_names = ClassNames(parsed.name);
  data.classes = static_cast<int>(data.class_names.size());
  return data;
}

void ComputeStatistics(Dataset* dataset) {
  const ImageSet& images = dataset->train;
  const size_t channels = static_cast<size_t>(images.channels);
  std::vector<std::array<uint64_t, 256>> histogram(channels);
  for (auto& counts : histogram) counts.fill(0);
  for (size_t i = 0; i < images.pixels.size(); i += channels) {
    for (size_t c = 0; c < channels; ++c) ++histogram[c][images.pixels[i + c]];
  }
  dataset->mean.assign(channels, 0.0f);
  dataset->stddev.assign(channels, 1.0f);
  for (size_t c = 0; c < channels; ++c) {
    uint64_t count = 0, sum = 0, squares = 0;
    for (uint64_t v = 0; v < 256; ++v) {
      count += histogram[c][v];
      sum += histogram[c][v] * v;
      squares += histogram[c][v] * v * v;
    }
    if (count == 0) continue;
    const double mean = static_cast<double>(sum) / static_cast<double>(count);
    const double variance = static_cast<double>(squares) / static_cast<double>(count) - mean * mean;
    dataset->mean[c] = static_cast<float>(mean / 255.0);
    // A channel that never changes carries nothing; any scale will do.
    if (variance > 0) dataset->stddev[c] = static_cast<float>(std::sqrt(variance) / 255.0);
  }
}

std::vector<uint8_t> MeanPixel(const Dataset& dataset) {
  std::vector<uint8_t> pixel;
  for (const float mean : dataset.mean) {
    pixel.push_back(static_cast<uint8_t>(std::clamp(std::rint(255.0f * mean), 0.0f, 255.0f)));
  }
  return pixel;
}

}  // namespace ftt
