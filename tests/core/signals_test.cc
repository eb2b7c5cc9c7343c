#include "core/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ftt {
namespace {

TEST(Signals, FirstSetsAFlag) {
  for (const int signal : {SIGINT, SIGTERM}) {
    ClearStopRequest();
    InstallSignalHandlers();
    EXPECT_FALSE(StopRequested());
    ASSERT_EQ(::raise(signal), 0);
    EXPECT_TRUE(StopRequested());
    EXPECT_EQ(StopSignal(), signal);
  }
  ClearStopRequest();
  EXPECT_FALSE(StopRequested());
}

TEST(Signals, SecondEndsTheProcess) {
  const pid_t child = ::fork();
  if (child == 0) {
    ClearStopRequest();
    InstallSignalHandlers();
    ::raise(SIGTERM);
    ::raise(SIGINT);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGINT);
}

}  // namespace
}  // namespace ftt
