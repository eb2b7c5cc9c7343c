// Is a data set on disk complete and what it claims to be?
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ftt {

enum class Official { kYes, kNo, kUnknown };

struct FileReport {
  std::string path;
  std::string md5;  // of the file as it lies there; empty if it is missing
  // Equal to the file that its authors publish? kUnknown where no checksum of it is published.
  Official official = Official::kUnknown;
};

struct DatasetReport {
  std::string name, folder;
  std::vector<FileReport> files;
  int height = 0, width = 0, channels = 0;
  std::vector<int64_t> train_per_class, test_per_class;
  std::vector<std::string> problems;  // it must not be used like this
  std::vector<std::string> notes;     // to be said beside results
  bool Ok() const { return problems.empty(); }
};

// Reads every file of data set `name` (empty: found out from the files) below `dir`, as LoadDataset
// would find it, and checks sizes, labels, balance of classes and checksums. What is wrong with the
// files comes back in `problems`; throws ftt::Error only for an unknown name or a folder without
// data files.
//
// CIFAR-10's labels are compared with the official ones file by file. Its pixels count as official
// when the first 1,000 test images are and the mean of the training images is the published one; a
// copy that went through a lossy format is a note, not a problem. A file MD5SUMS, which
// FetchDataset leaves, must agree with the files.
DatasetReport CheckDataset(const std::string& name, const std::string& dir);

// The report as lines of text, ready to print.
std::string Format(const DatasetReport& report);

// Name of the file with the checksums of a fetched data set, in the format of md5sum.
inline constexpr char kManifestName[] = "MD5SUMS";

}  // namespace ftt
