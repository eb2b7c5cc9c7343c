#include "data/fetch.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <sstream>
#include <vector>

#include "core/digest.h"
#include "core/error.h"
#include "core/file.h"
#include "data/check.h"

extern char** environ;

namespace ftt {
namespace {
namespace fs = std::filesystem;

// Absolute path of a program, or empty.
std::string FindProgram(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream places(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string place; std::getline(places, place, ':');) {
    const std::string candidate = (place.empty() ? "." : place) + "/" + name;
    if (!IsDirectory(candidate) && ::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

// While a child runs, Ctrl-C ends the child, and this process goes on to clean up.
class IgnoreInterrupt {
 public:
  IgnoreInterrupt() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGINT, &ignore, &interrupt_);
    ::sigaction(SIGTERM, &ignore, &terminate_);
  }
  ~IgnoreInterrupt() {
    ::sigaction(SIGINT, &interrupt_, nullptr);
    ::sigaction(SIGTERM, &terminate_, nullptr);
  }
  IgnoreInterrupt(const IgnoreInterrupt&) = delete;
  IgnoreInterrupt& operator=(const IgnoreInterrupt&) = delete;

 private:
  struct sigaction interrupt_ {
  }, terminate_{};
};

// Runs a program without a shell and returns its exit status (128 + signal if it was killed). Its
// stderr goes to `log_path`, or to ours if that is empty; stdout follows stderr.
int RunProgram(const std::vector<std::string>& command, const std::string& log_path) {
  std::vector<char*> arguments;
  for (const std::string& part : command) arguments.push_back(const_cast<char*>(part.c_str()));
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  if (!log_path.empty()) {
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, log_path.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0666);
  }
  posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGINT);
  sigaddset(&defaults, SIGTERM);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);

  const IgnoreInterrupt guard;
  pid_t child = 0;
  const int code =
      ::posix_spawn(&child, arguments[0], &files, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  FTT_CHECK(code == 0, "cannot run {}: {}", command[0], std::strerror(code));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    FTT_CHECK(errno == EINTR, "cannot wait for {}: {}", command[0], std::strerror(errno));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// What a program said, on one line.
std::string ReadLog(const std::string& path) {
  if (!PathExists(path)) return "";
  std::string text = ReadFile(path);
  if (text.size() > 400) text = text.substr(text.size() - 400);
  for (char& c : text) c = c == '\n' || c == '\r' ? ' ' : c;
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text.empty() ? "" : ": " + text;
}

// A folder for unfinished work beside the final one, removed with everything in it; so are the
// parents it needed, unless something else has come to lie in them.
class WorkFolder {
 public:
  WorkFolder(const std::string& parent, const std::string& name) : parent_(parent) {
    std::error_code code;
    for (fs::path p = fs::absolute(parent); !fs::exists(p, code) && p.has_relative_path();
         p = p.parent_path()) {
      created_.push_back(p.string());
    }
    EnsureWritableDir(parent);
    path_ = parent + "/" + name;
    try {
      EnsureWritableDir(path_);
      lock_ = std::make_unique<DirLock>(path_);
      for (const auto& entry : fs::directory_iterator(path_)) {
        if (entry.path().filename() != ".lock") fs::remove_all(entry.path(), code);
      }
    } catch (...) {
      RemoveCreated();
      throw;
    }
  }
  ~WorkFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
    RemoveCreated();
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const std::string& Path() const { return path_; }

 private:
  void RemoveCreated() {
    std::error_code ignored;  // a parent that is not empty stays
    for (const std::string& folder : created_) fs::remove(folder, ignored);
  }
  std::string parent_, path_;
  std::vector<std::string> created_;  // innermost first
  std::unique_ptr<DirLock> lock_;
};

void Download(const std::string& url, const std::string& path, const std::string& log,
              bool progress) {
  const std::string curl = FindProgram("curl"), wget = FindProgram("wget");
  std::vector<std::string> command;
  if (!curl.empty()) {
    command = {curl, "--fail",      "--location", "--retry", "2", "--connect-timeout",
               "30", "--show-error"};
    command.push_back(progress ? "--progress-bar" : "--silent");
    command.insert(command.end(), {"--output", path, "--url", url});
  } else {
    FTT_CHECK(!wget.empty(),
              "cannot download {}: neither curl nor wget is installed; install one of them", url);
    command = {wget,        progress ? "--show-progress" : "--no-verbose",
               "--tries=3", "--timeout=30",
               "-O",        path,
               url};
  }
  const std::string program = fs::path(command[0]).filename().string();
  const int status = RunProgram(command, progress ? "" : log);
  FTT_CHECK(status == 0,
            "cannot download {}: {} ended with status {}{}; check the network, or get the archive "
            "by other means and "
            "unpack it into the data folder",
            url, program, status, ReadLog(log));
}

void Unpack(const std::string& archive, const std::string& to, const std::string& log) {
  const std::string tar = FindProgram("tar");
  FTT_CHECK(!tar.empty(), "cannot unpack {}: tar is not installed", archive);
  EnsureWritableDir(to);
  const int status = RunProgram({tar, "-xzf", archive, "--no-same-owner", "-C", to}, log);
  FTT_CHECK(status == 0, "cannot unpack {}: tar ended with status {}{}", archive, status,
            ReadLog(log));
}

void WriteManifest(const DatasetReport& report) {
  std::string manifest;
  for (const FileReport& file : report.files) {
    manifest += file.md5 + "  " + fs::path(file.path).filename().string() + "\n";
  }
  AtomicWriteFile(report.folder + "/" + kManifestName, manifest);
}

}  // namespace

FetchSource OfficialSource(const std::string& name) {
  if (name == "cifar10") {
    return {"https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530", "cifar-10-batches-bin"};
  }
  if (name == "cifar100") {
    return {"https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            "03b5dce01913d631647c71ecec9e9cb8", "cifar-100-binary"};
  }
  Fail(
      "cannot fetch data set '{}': only cifar10 and cifar100 are fetched; shapes needs no download",
      name);
}

std::string FetchDataset(const std::string& name, const std::string& dir,
                         const FetchOptions& options) {
  const FetchSource source = options.source != nullptr ? *options.source : OfficialSource(name);
  const auto say = [&](const std::string& text) {
    if (options.say) options.say(text);
  };
  const std::string target = dir + "/" + source.folder;
  if (PathExists(target)) {
    bool complete = false;
    try {
      complete = CheckDataset(name, target).Ok();
    } catch (const Error&) {
      // A folder without data files is in the way just like a damaged one.
    }
    FTT_CHECK(complete, "{} exists but is not a complete {}: remove it, then fetch again", target,
              name);
    say(target + " is there already, and complete");
    return target;
  }
  const WorkFolder work(dir, source.folder + ".fetch.tmp");
  const std::string archive = work.Path() + "/archive.tar.gz", log = work.Path() + "/log";
  say("downloading " + source.url);
  Download(source.url, archive, log, options.progress);
  const std::string md5 = FileDigest(archive, DigestKind::kMd5);
  FTT_CHECK(
      md5 == source.md5,
      "{}: downloaded file has MD5 {}, expected {}: damaged or replaced; nothing was unpacked",
      source.url, md5, source.md5);
  say("unpacking");
  const std::string unpacked = work.Path() + "/unpacked";
  Unpack(archive, unpacked, log);
  FTT_CHECK(IsDirectory(unpacked + "/" + source.folder), "{}: the archive has no folder {}",
            source.url, source.folder);
  const DatasetReport report = CheckDataset(name, unpacked + "/" + source.folder);
  FTT_CHECK(report.Ok(), "{}: {}", source.url, report.problems.front());
  WriteManifest(report);
  std::error_code code;
  fs::rename(unpacked + "/" + source.folder, target, code);
  FTT_CHECK(!code, "cannot move the data to {}: {}", target, code.message());
  return target;
}

}  // namespace ftt
