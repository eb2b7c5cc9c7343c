// Download of data sets.
#pragma once

#include <functional>
#include <string>

namespace ftt {

// Where an archive comes from and what it must be.
struct FetchSource {
  std::string url;     // a .tar.gz
  std::string md5;     // of the archive, lower-case hexadecimal
  std::string folder;  // the folder inside it that holds the data files
};

// The official archive of `name`. Throws for data sets that are not fetched.
FetchSource OfficialSource(const std::string& name);

struct FetchOptions {
  const FetchSource* source = nullptr;  // instead of the official one; for tests
  bool progress = false;  // let the download program show its progress on the terminal
  std::function<void(const std::string&)> say;  // told of each step; may be empty
};

// Downloads the official archive of `name` (cifar10, cifar100) with curl or wget, verifies its
// checksum, unpacks and checks it, and only then moves the folder to dir/FOLDER (dir is created).
// Returns that folder. A complete data set that is there already is left alone.
//
// Throws ftt::Error if a program is missing, the download fails, the checksum or the content is
// wrong, or a damaged folder is in the way. Whatever happens, nothing unfinished stays behind but
// after SIGKILL, and the next call removes that.
std::string FetchDataset(const std::string& name, const std::string& dir,
                         const FetchOptions& options = {});

}  // namespace ftt
