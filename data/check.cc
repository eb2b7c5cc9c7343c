#include "data/check.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <sstream>
#include <string_view>

#include "core/digest.h"
#include "core/error.h"
#include "core/file.h"
#include "data/class_names.h"
#include "data/dataset.h"
#include "data/formats.h"

namespace ftt {
namespace {

// MD5 of the 10,000 labels of each CIFAR-10 file, and of the first 1,000 records of test_batch.bin.
constexpr const char* kCifar10Labels[6] = {
    "30f55b79f7954f592721267e37ffcbcf", "bdca50851f742064551c3fa947e975d6",
    "23228d18cd9f4c032bb8cfa72996e3ef", "61be7314d261d42101f429408af67a28",
    "8ca6bc10f4bd0e81fba552f724423842", "251f18ce75337ae9ca5d0dbd7ea62cf4"};
constexpr char kCifar10TestStart[] = "371f65da31ad652f5e24b3699a3e6515";
constexpr size_t kCifar10TestStartBytes = 1000 * 3073;

// MD5 of the published IDX files, gzipped and unpacked ("" where not published): train images,
// train labels, test images, test labels.
struct IdxMd5 {
  const char* packed;
  const char* unpacked;
};
constexpr IdxMd5 kMnist[4] = {
    {"f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"},
    {"d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"},
    {"9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"},
    {"ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"}};
constexpr IdxMd5 kFashion[4] = {{"8d4fb7e6c68d591d4c3dfef9ec88bf0d", ""},
                                {"25c81989df183df01b3e8a0aad5dffbe", ""},
                                {"bef4ecab320f06d8554ea6380940ec79", ""},
                                {"bb300cfdad3c16e7a12a480ee83cd310", ""}};

std::string DetectName(const std::string& dir) {
  for (const char* name : {"cifar10", "cifar100", "fashion-mnist", "mnist"}) {
    // A folder of IDX files does not say which of the family it is; only one of that name is
    // fashion-mnist.
    const std::string lower = std::filesystem::absolute(dir).lexically_normal().string();
    if (std::string_view(name) == "fashion-mnist" && lower.find("ashion") == std::string::npos)
      continue;
    try {
      FindDataFolder(name, dir);
      return name;
    } catch (const Error&) {
      // Not this one; the next may fit.
    }
  }
  Fail("no data set found in {}: expected the files of CIFAR-10, CIFAR-100 or the MNIST family",
       dir);
}

std::string Labels(const ImageSet& set, size_t first) {
  return {set.labels.begin() + static_cast<int64_t>(first), set.labels.end()};
}

std::vector<int64_t> CountClasses(const ImageSet& set, size_t classes) {
  std::vector<int64_t> counts(classes);
  for (const uint8_t label : set.labels) ++counts[label];
  return counts;
}

class Checker {
 public:
  Checker(DatasetReport* report) : report_(report) {}

  void CheckCifar(const CifarLayout& layout);
  void CheckIdx(const IdxMd5* official);
  void CheckManifest();

 private:
  void Note(std::string text) { report_->notes.push_back(std::move(text)); }
  void Problem(std::string text) { report_->problems.push_back(std::move(text)); }
  void CheckCifar10Labels(size_t file, const ImageSet& set, size_t first);
  void CheckCifar10Pixels();
  void CountAll();

  DatasetReport* report_;
  Dataset data_;
};

void Checker::CheckCifar(const CifarLayout& layout) {
  const auto& files = CifarFiles(layout);
  for (size_t i = 0; i < files.size(); ++i) {
    FileReport file{report_->folder + "/" + files[i].name, "", Official::kUnknown};
    ImageSet& set = files[i].train ? data_.train : data_.test;
    const size_t first = set.labels.size();
    try {
      AppendCifarFile(file.path, layout, files[i].images, &set);
      if (layout.classes == 10) CheckCifar10Labels(i, set, first);
    } catch (const Error& error) {
      set.labels.resize(first);
      set.pixels.resize(first * static_cast<size_t>(set.ImageBytes()));
      Problem(error.what());
    }
    if (PathExists(file.path)) file.md5 = FileDigest(file.path, DigestKind::kMd5);
    report_->files.push_back(file);
  }
  CountAll();
  if (!report_->Ok()) return;
  const auto unbalanced = [&](const std::vector<int64_t>& counts, const char* what) {
    if (std::adjacent_find(counts.begin(), counts.end(), std::not_equal_to<>()) != counts.end()) {
      Problem(
          fmt::format("the classes of the {} images are not balanced: labels are damaged", what));
    }
  };
  unbalanced(report_->train_per_class, "training");
  unbalanced(report_->test_per_class, "test");
  if (layout.classes == 10) CheckCifar10Pixels();
}

void Checker::CheckCifar10Labels(size_t file, const ImageSet& set, size_t first) {
  if (Md5Hex(Labels(set, first)) != kCifar10Labels[file]) {
    Problem(fmt::format("{}/{}: labels differ from the official ones; fetch it again",
                        report_->folder, CifarFiles(kCifar10Layout)[file].name));
  }
}

void Checker::CheckCifar10Pixels() {
  const std::string test = ReadFile(report_->files.back().path);
  const bool start =
      Md5Hex(std::string_view(test).substr(0, kCifar10TestStartBytes)) == kCifar10TestStart;
  ComputeStatistics(&data_);
  const float published[3] = {0.49139968f, 0.48215827f, 0.44653124f};
  bool mean = true;
  for (size_t c = 0; c < 3; ++c) mean = mean && std::abs(data_.mean[c] - published[c]) < 1e-6f;
  if (start && mean) {
    Note(
        "the pixels agree with the official ones (first 1,000 test images, mean of the training "
        "images)");
    return;
  }
  for (size_t i = 0; i < report_->files.size(); ++i) {
    const bool differs = i + 1 == report_->files.size() ? !start : !mean;
    if (differs) report_->files[i].official = Official::kNo;
  }
  Note(
      "the pixels differ from the official ones, as after JPEG: accuracies are not comparable to "
      "published ones");
}

void Checker::CheckIdx(const IdxMd5* official) {
  const IdxPaths paths = FindIdxFiles(report_->folder);
  const std::string* all[4] = {&paths.train_images, &paths.train_labels, &paths.test_images,
                               &paths.test_labels};
  const char* names[4] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                          "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
  for (size_t i = 0; i < 4; ++i) {
    if (all[i]->empty()) {
      Problem(fmt::format("{}/{} (or {}.gz) is missing", report_->folder, names[i], names[i]));
      report_->files.push_back({report_->folder + "/" + names[i], "", Official::kNo});
      continue;
    }
    FileReport file{*all[i], FileDigest(*all[i], DigestKind::kMd5), Official::kUnknown};
    try {
      const std::string unpacked = Md5Hex(ReadMaybeGzip(file.path, int64_t{1} << 31));
      const bool equal = file.md5 == official[i].packed || unpacked == official[i].unpacked;
      const bool decided = *official[i].unpacked != '\0' || file.path.ends_with(".gz");
      file.official = equal ? Official::kYes : decided ? Official::kNo : Official::kUnknown;
    } catch (const Error&) {
      file.official = Official::kNo;  // reported below, where the pair is read
    }
    report_->files.push_back(file);
  }
  const auto read = [&](const std::string& images, const std::string& labels, ImageSet* set) {
    if (images.empty() || labels.empty()) return;
    try {
      *set = ReadIdxPair(images, labels, 10);
    } catch (const Error& error) {
      Problem(error.what());
    }
  };
  read(paths.train_images, paths.train_labels, &data_.train);
  read(paths.test_images, paths.test_labels, &data_.test);
  CountAll();
  if (report_->Ok() && data_.test.Size() != 10000) {
    Note(fmt::format("{} test images, the published set has 10,000", data_.test.Size()));
  }
  if (report_->Ok() && data_.train.ImageBytes() != data_.test.ImageBytes()) {
    Problem("training and test images differ in size");
  }
}

void Checker::CountAll() {
  const size_t classes = ClassNames(report_->name).size();
  const ImageSet& shape = data_.train.height > 0 ? data_.train : data_.test;
  report_->height = shape.height;
  report_->width = shape.width;
  report_->channels = shape.channels;
  report_->train_per_class = CountClasses(data_.train, classes);
  report_->test_per_class = CountClasses(data_.test, classes);
}

void Checker::CheckManifest() {
  const std::string path = report_->folder + "/" + kManifestName;
  if (!PathExists(path)) return;
  std::map<std::string, std::string> sums;
  std::istringstream lines(ReadFile(path, 1 << 16));
  for (std::string md5, name; lines >> md5 >> name;) sums[name] = md5;
  bool all = true;
  for (FileReport& file : report_->files) {
    const auto found = sums.find(std::filesystem::path(file.path).filename().string());
    if (found == sums.end() || found->second == file.md5) {
      all = all && found != sums.end();
      if (found != sums.end() && file.official == Official::kUnknown)
        file.official = Official::kYes;
      continue;
    }
    all = false;
    file.official = Official::kNo;
    Problem(fmt::format("{}: MD5 {} is not that of the fetched file; fetch it again", file.path,
                        file.md5.empty() ? "of nothing" : file.md5));
  }
  if (all) Note("the files are those of the official archive, checked when it was fetched");
}

std::string FormatCounts(const std::vector<int64_t>& counts) {
  int64_t sum = 0;
  for (const int64_t count : counts) sum += count;
  if (counts.empty() || sum == 0) return "none";
  const auto [low, high] = std::minmax_element(counts.begin(), counts.end());
  return *low == *high ? fmt::format("{}, {} of each class", sum, *low)
                       : fmt::format("{}, {} to {} of each class", sum, *low, *high);
}

}  // namespace

DatasetReport CheckDataset(const std::string& name, const std::string& dir) {
  DatasetReport report;
  report.name = name.empty() ? DetectName(dir) : ParseDatasetSpec(name).name;
  FTT_CHECK(report.name != "shapes", "data set shapes is computed; there are no files to check");
  report.folder = FindDataFolder(report.name, dir);
  Checker checker(&report);
  if (report.name == "cifar10" || report.name == "cifar100") {
    checker.CheckCifar(report.name == "cifar10" ? kCifar10Layout : kCifar100Layout);
  } else {
    checker.CheckIdx(report.name == "mnist" ? kMnist : kFashion);
  }
  checker.CheckManifest();
  return report;
}

std::string Format(const DatasetReport& report) {
  std::string text = fmt::format("{} in {}\n", report.name, report.folder);
  for (const FileReport& file : report.files) {
    const char* verdict = file.md5.empty()                  ? "missing"
                          : file.official == Official::kYes ? "official"
                          : file.official == Official::kNo  ? "not the official file"
                                                            : "no published checksum";
    text +=
        fmt::format("  {:<28} {:<32}  {}\n", std::filesystem::path(file.path).filename().string(),
                    file.md5.empty() ? "-" : file.md5, verdict);
  }
  text += fmt::format("  images    {}x{}x{}\n", report.height, report.width, report.channels);
  text += fmt::format("  training  {}\n", FormatCounts(report.train_per_class));
  text += fmt::format("  test      {}\n", FormatCounts(report.test_per_class));
  for (const std::string& note : report.notes) text += "  note: " + note + "\n";
  for (const std::string& problem : report.problems) text += "  PROBLEM: " + problem + "\n";
  text += report.Ok() ? "  complete\n" : "";
  return text;
}

}  // namespace ftt
