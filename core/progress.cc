#include "core/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

namespace ftt {
namespace {

constexpr auto kUpdateInterval = std::chrono::milliseconds(100);
constexpr int kDefaultWidth = 80;

bool IsTerminal(std::FILE* stream) {
  const char* term = std::getenv("TERM");
  return ::isatty(::fileno(stream)) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

// The first `columns` characters of a UTF-8 text (one column each).
std::string_view CutToWidth(std::string_view text, int columns) {
  size_t end = 0;
  for (int column = 0; end < text.size() && column < columns; ++column) {
    ++end;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
  }
  return text.substr(0, end);
}

}  // namespace

std::string FormatDuration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e12) return "?";
  const auto total = static_cast<long long>(std::llround(seconds));
  const long long minutes = total / 60;
  const long long hours = minutes / 60;
  if (minutes == 0) return fmt::format("{}s", total);
  if (hours == 0) return fmt::format("{}m{:02}s", minutes, total % 60);
  if (hours < 48) return fmt::format("{}h{:02}m", hours, minutes % 60);
  return fmt::format("{}d{:02}h", hours / 24, hours % 24);
}

double EstimateRemaining(double elapsed_seconds, double done, double total) {
  if (done <= 0) return -1;
  return elapsed_seconds / done * std::max(total - done, 0.0);
}

Progress::Progress(std::FILE* stream) : Progress(stream, IsTerminal(stream), 0) {}

Progress::Progress(std::FILE* stream, bool live, int width)
    : stream_(stream), live_(live), width_(width) {}

Progress::~Progress() {
  if (line_open_) std::fputc('\n', stream_);
  std::fflush(stream_);
}

// Asked for at every update because windows are resized.
int Progress::Width() const {
  if (width_ > 0) return width_;
  winsize size{};
  if (::ioctl(::fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return kDefaultWidth;
}

bool Progress::WantsUpdate() const {
  return live_ && std::chrono::steady_clock::now() - last_update_ >= kUpdateInterval;
}

void Progress::Clear() {
  if (line_open_) std::fputs("\r\x1b[K", stream_);
  line_open_ = false;
}

void Progress::Update(const std::string& text) {
  if (!WantsUpdate()) return;
  last_update_ = std::chrono::steady_clock::now();
  Clear();
  // The last column stays free: writing there would wrap on some terminals.
  const std::string_view shown = CutToWidth(text, Width() - 1);
  std::fwrite(shown.data(), 1, shown.size(), stream_);
  std::fflush(stream_);
  line_open_ = true;
}

void Progress::Line(const std::string& text) {
  Clear();
  std::fwrite(text.data(), 1, text.size(), stream_);
  std::fputc('\n', stream_);
  std::fflush(stream_);
}

}  // namespace ftt
