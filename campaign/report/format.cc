#include "campaign/report/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

namespace ftt {
namespace {

// Drops the zeros that printf puts in front of an exponent's digits.
std::string ShortExponents(std::string text) {
  for (size_t at = text.find('e'); at != std::string::npos; at = text.find('e', at + 1)) {
    const size_t sign = at + 1;
    if (at == 0 || std::isdigit(static_cast<unsigned char>(text[at - 1])) == 0) continue;
    if (sign >= text.size() || (text[sign] != '-' && text[sign] != '+')) continue;
    while (sign + 2 < text.size() && text[sign + 1] == '0' &&
           std::isdigit(static_cast<unsigned char>(text[sign + 2])) != 0) {
      text.erase(sign + 1, 1);
    }
  }
  return text;
}

}  // namespace

std::string PercentText(double share, int digits) {
  return std::isfinite(share) ? fmt::format("{:.{}f} %", 100 * share, digits) : "–";
}

std::string PercentText(const MeanEstimate& e) {
  if (e.count == 0) return "–";
  if (e.count == 1 || !std::isfinite(e.interval.low)) return PercentText(e.mean) + " (one trial)";
  const int digits = e.interval.high - e.interval.low < 0.002 ? 2 : 1;
  return fmt::format("{} ({:.{}f}..{:.{}f})", PercentText(e.mean, digits),
                     100 * std::max(0.0, e.interval.low), digits,
                     100 * std::min(1.0, e.interval.high), digits);
}

std::string NumberText(double value, int digits) {
  if (!std::isfinite(value)) return "–";
  if (digits >= 0) return fmt::format("{:.{}f}", value, digits);
  if (std::abs(value) >= 1000 && std::abs(value) < 1e15) {
    return CountText(static_cast<int64_t>(std::llround(value)));
  }
  if (value == 0 || std::abs(value) > 1.0001e-3)
    return ShortExponents(fmt::format("{:.4g}", value));
  // 3.1000e-05 -> 3.1e-5: as fault rates are written on the command line.
  std::string text = fmt::format("{:.3e}", value);
  size_t exponent = text.find('e');
  while (text[exponent - 1] == '0') text.erase(--exponent, 1);
  if (text[exponent - 1] == '.') text.erase(--exponent, 1);
  return ShortExponents(text);
}

std::string CountText(int64_t value) {
  std::string digits = fmt::format("{}", value);
  const size_t first = value < 0 ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string DurationText(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "–";
  if (seconds < 10) return fmt::format("{:.1f} s", seconds);
  if (seconds < 100) return fmt::format("{:.0f} s", seconds);
  const int64_t minutes = std::llround(seconds / 60);
  if (minutes < 100) return fmt::format("{} min", minutes);
  return fmt::format("{} h {} min", CountText(minutes / 60), minutes % 60);
}

std::string FaultText(const std::string& spec) {
  std::string text;
  for (size_t at = 0; at < spec.size();) {
    const size_t end = std::min(spec.find_first_of(":,=+", at), spec.size());
    const std::string part = spec.substr(at, end - at);
    char* rest = nullptr;
    const double value = std::strtod(part.c_str(), &rest);
    const std::string number = NumberText(value);
    const bool exact =
        !part.empty() && *rest == '\0' && std::strtod(number.c_str(), nullptr) == value;
    text += exact ? number : part;
    if (end < spec.size()) text += spec[end];
    at = end + 1;
  }
  return text;
}

std::string Slug(std::string_view text) {
  std::string slug;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u) != 0 && u < 0x80) {
      slug += static_cast<char>(std::tolower(u));
    } else if (!slug.empty() && slug.back() != '-') {
      slug += '-';
    }
  }
  while (!slug.empty() && slug.back() == '-') slug.pop_back();
  return slug.empty() ? "x" : slug;
}

}  // namespace ftt
