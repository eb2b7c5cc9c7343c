#include "cli/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace ftt {
namespace {

// Edits that turn `a` into `b`: insertions, deletions, substitutions and swaps of neighbours
// (Damerau).
size_t EditDistance(std::string_view a, std::string_view b) {
  // table[i][j] belongs to the first i and j characters.
  std::vector<std::vector<size_t>> table(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        table[i][j] = i + j;
        continue;
      }
      const size_t substituted = table[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      table[i][j] = std::min({table[i - 1][j] + 1, table[i][j - 1] + 1, substituted});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
      }
    }
  }
  return table[a.size()][b.size()];
}

}  // namespace

std::vector<std::string> NearMatches(std::string_view word, std::vector<std::string> candidates) {
  const size_t limit = std::max<size_t>(1, word.size() / 3);
  std::vector<std::pair<size_t, std::string>> near;
  for (std::string& candidate : candidates) {
    const bool contained = word.size() >= 4 && candidate.find(word) != std::string::npos;
    const size_t distance = contained ? 1 : EditDistance(word, candidate);
    if (distance <= limit) near.emplace_back(distance, std::move(candidate));
  }
  std::sort(near.begin(), near.end());
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min<size_t>(near.size(), 3); ++i) names.push_back(near[i].second);
  return names;
}

std::string DidYouMean(std::string_view word, std::vector<std::string> candidates) {
  const std::vector<std::string> near = NearMatches(word, std::move(candidates));
  if (near.empty()) return "";
  return fmt::format("; did you mean '{}'?", fmt::join(near, "' or '"));
}

}  // namespace ftt
