// "Did you mean" for mistyped names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ftt {

// The candidates nearest to `word` by edit distance, best first, at most three; none where nothing
// is near.
std::vector<std::string> NearMatches(std::string_view word, std::vector<std::string> candidates);

// "; did you mean 'a' or 'b'?" or nothing.
std::string DidYouMean(std::string_view word, std::vector<std::string> candidates);

}  // namespace ftt
