#include "campaign/report/child_process.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "core/error.h"

extern char** environ;

namespace ftt {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
// Unnamed files rather than pipes: no order of reading and writing can block.
using TemporaryFile = std::unique_ptr<std::FILE, CloseFile>;

std::string Reason(int code) { return std::generic_category().message(code); }

TemporaryFile MakeTemporary() {
  TemporaryFile file(std::tmpfile());
  FTT_CHECK(file != nullptr, "cannot make a temporary file: {}", Reason(errno));
  return file;
}

std::string ReadAll(std::FILE* file) {
  std::string text;
  char buffer[1 << 14];
  std::rewind(file);
  for (size_t n; (n = std::fread(buffer, 1, sizeof(buffer), file)) > 0;) text.append(buffer, n);
  return text;
}

int Spawn(const std::vector<std::string>& arguments, int in, int out, int err, pid_t* child) {
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
  const int code = posix_spawnp(child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return code;
}

}  // namespace

ChildResult RunChild(const std::vector<std::string>& arguments, const std::string& input) {
  const TemporaryFile in = MakeTemporary(), out = MakeTemporary(), err = MakeTemporary();
  FTT_CHECK(std::fwrite(input.data(), 1, input.size(), in.get()) == input.size() &&
                std::fflush(in.get()) == 0,
            "cannot write a temporary file: {}", Reason(errno));
  std::rewind(in.get());
  ChildResult result;
  pid_t child = 0;
  const int code = Spawn(arguments, fileno(in.get()), fileno(out.get()), fileno(err.get()), &child);
  if (code == ENOENT) return result;
  FTT_CHECK(code == 0, "cannot run {}: {}", arguments[0], Reason(code));
  result.started = true;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    FTT_CHECK(errno == EINTR, "cannot wait for {}: {}", arguments[0], Reason(errno));
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.output = ReadAll(out.get());
  result.errors = ReadAll(err.get());
  return result;
}

}  // namespace ftt
