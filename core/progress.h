// What a run tells its user: on a terminal one live line, in a pipe plain lines.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>

namespace ftt {

// "4s", "3m05s", "2h07m", "5d02h"; "?" for negative or unknown times.
std::string FormatDuration(double seconds);

// Seconds left, from the seconds used for `done` of `total` steps; negative while nothing is known.
double EstimateRemaining(double elapsed_seconds, double done, double total);

class Progress {
 public:
  // Whether `stream` is a terminal decides how it prints. The stream stays open and outlives this
  // object.
  explicit Progress(std::FILE* stream);
  Progress(std::FILE* stream, bool live, int width);  // for tests; width 0: ask the terminal
  ~Progress();                                        // ends a live line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Replaces the live line by `text`, cut to the terminal's width, at most ten times a second.
  // Nothing in a pipe.
  void Update(const std::string& text);
  // Prints a line that stays, in both cases.
  void Line(const std::string& text);
  // Takes the live line away, e.g. before a result on standard output.
  void Clear();
  // Whether Update would print now; spares composing a text that is thrown away.
  bool WantsUpdate() const;
  bool Live() const { return live_; }

 private:
  int Width() const;

  std::FILE* stream_;
  bool live_;
  int width_;
  bool line_open_ = false;
  std::chrono::steady_clock::time_point last_update_{};
};

}  // namespace ftt
