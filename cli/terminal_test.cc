#include "cli/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <string>

#include "cli/interrupt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kShowCursor[] = "\x1b[?25h";
constexpr char kHideCursor[] = "\x1b[?25l";
constexpr char kUpOneLine[] = "\x1b[1A";

// A pseudo-terminal, and processes that draw on it.
class TerminalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("TERM", "xterm", 1);
    screen_ = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    ASSERT_GE(screen_, 0);
    ASSERT_EQ(grantpt(screen_), 0);
    ASSERT_EQ(unlockpt(screen_), 0);
    terminal_ = open(ptsname(screen_), O_RDWR | O_NOCTTY);
    ASSERT_GE(terminal_, 0);
  }
  void TearDown() override {
    close(terminal_);
    close(screen_);
  }

  // What has been written since the last call.
  std::string Screen() const {
    std::string text;
    std::array<char, 256> piece;
    ssize_t length = 0;
    while ((length = read(screen_, piece.data(), piece.size())) > 0) text.append(piece.data(), length);
    return text;
  }
  // In a child with its handlers; its process id.
  static pid_t Start(const std::function<void()>& work) {
    const pid_t child = fork();
    if (child != 0) return child;
    for (const int number : {SIGTSTP, SIGCONT, SIGQUIT}) signal(number, SIG_DFL);
    CatchInterrupts();
    work();
    _exit(0);
  }

  int screen_ = -1;
  int terminal_ = -1;
};

TEST_F(TerminalTest, BlockIsRedrawnInPlaceAndRemoved) {
  Terminal terminal(terminal_);
  ASSERT_TRUE(terminal.live());
  terminal.Draw({"one"});
  EXPECT_THAT(Screen(), AllOf(HasSubstr(kHideCursor), HasSubstr("one"), Not(HasSubstr(kUpOneLine))));
  terminal.Draw({"two"});
  EXPECT_THAT(Screen(), AllOf(HasSubstr(kUpOneLine), HasSubstr("two")));
  terminal.Clear();
  EXPECT_THAT(Screen(), AllOf(HasSubstr(kUpOneLine), EndsWith(kShowCursor)));
}

TEST_F(TerminalTest, CommandThatIsSuspended_ShowsTheCursor_AndGoesOnBelowWhatTheShellWrote) {
  const pid_t child = Start([this] {
    Terminal terminal(terminal_);
    terminal.Draw({"before"});
    raise(SIGTSTP);
    terminal.Draw({"after"});
    terminal.Clear();
  });
  int how = 0;
  ASSERT_EQ(waitpid(child, &how, WUNTRACED), child);
  EXPECT_TRUE(WIFSTOPPED(how));
  EXPECT_THAT(Screen(), AllOf(HasSubstr("before"), EndsWith(kShowCursor)));
  kill(child, SIGCONT);
  ASSERT_EQ(waitpid(child, &how, 0), child);
  EXPECT_TRUE(WIFEXITED(how));
  const std::string screen = Screen();
  EXPECT_THAT(screen.substr(0, screen.find("after")), AllOf(HasSubstr(kHideCursor), Not(HasSubstr(kUpOneLine))));
  EXPECT_THAT(screen, EndsWith(kShowCursor));
}

TEST_F(TerminalTest, CommandThatIsQuit_ShowsTheCursorAndDiesOfTheSignal) {
  const pid_t child = Start([this] {
    Terminal terminal(terminal_);
    terminal.Draw({"before"});
    raise(SIGQUIT);
  });
  int how = 0;
  ASSERT_EQ(waitpid(child, &how, 0), child);
  EXPECT_TRUE(WIFSIGNALED(how) && WTERMSIG(how) == SIGQUIT);
  EXPECT_THAT(Screen(), EndsWith(kShowCursor));
}

}  // namespace
}  // namespace tightrope
