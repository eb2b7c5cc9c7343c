#include "campaign/curve.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include "core/error.h"

namespace ftt {
namespace {

constexpr double kPlaceholder = 0.0625;
constexpr std::string_view kPlaceholderText = "0.0625";

double ParseRate(std::string_view text, const std::string& option) {
  double rate = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rate);
  FTT_CHECK(error == std::errc() && end == text.data() + text.size(), "{}: '{}' is not a number",
            option, text);
  FTT_CHECK(rate > 0 && rate <= 1, "{}: {} is outside (0, 1]; the fault-free run is always made",
            option, text);
  return rate;
}

double Rounded(double rate) {
  double out = 0;
  const std::string text = fmt::format("{:.2e}", rate);
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

int ParseCount(std::string_view text, int low, const std::string& option) {
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  FTT_CHECK(
      error == std::errc() && end == text.data() + text.size() && count >= low && count <= 1000,
      "{}: '{}' is not a number of rates from {} to 1000", option, text, low);
  return count;
}

std::vector<double> Range(double low, double high, std::string_view step,
                          const std::string& option) {
  std::vector<double> rates;
  if (step.rfind("log10", 0) == 0) {
    FTT_CHECK(step.size() == 5 || step[5] == '/', "{}: '{}' is not log10, log10/N or linN", option,
              step);
    const int per_decade = step.size() == 5 ? 1 : ParseCount(step.substr(6), 1, option);
    const double last = std::log10(high) * per_decade + 1e-6;
    for (int k = 0; std::log10(low) * per_decade + k <= last; ++k)
      rates.push_back(Rounded(low * std::pow(10.0, static_cast<double>(k) / per_decade)));
    return rates;
  }
  FTT_CHECK(step.rfind("lin", 0) == 0, "{}: '{}' is not log10, log10/N or linN", option, step);
  const int count = ParseCount(step.substr(3), 2, option);
  for (int k = 0; k < count; ++k)
    rates.push_back(Rounded(low + (high - low) * k / static_cast<double>(count - 1)));
  return rates;
}

}  // namespace

FaultCurve::FaultCurve(const std::string& text) {
  // "NAME" and "NAME,key" leave the rate open as "NAME:*" does.
  std::string filled;
  size_t begin = 0;
  while (begin <= text.size()) {
    size_t end = begin;
    // The plus sign of an exponent does not join terms.
    while (end < text.size() &&
           (text[end] != '+' || (end + 1 < text.size() && std::isdigit(text[end + 1]) != 0)))
      ++end;
    const std::string term = text.substr(begin, end - begin);
    const size_t name_end = std::min(term.find(':'), term.find(','));
    const bool star = name_end != std::string::npos && term.compare(name_end, 2, ":*") == 0;
    const bool open = star || name_end == std::string::npos || term[name_end] == ',';
    if (begin > 0) filled += '+';
    if (open) {
      const size_t at = std::min(name_end, term.size());
      filled.append(term, 0, at);
      filled += ':';
      filled += kPlaceholderText;
      filled.append(term, std::min(at + (star ? 2 : 0), term.size()));
    } else {
      filled += term;
    }
    open_.push_back(open ? 1 : 0);
    open_count_ += open ? 1 : 0;
    begin = end + 1;
  }
  spec_ = ParseFaultSpec(filled);
  FTT_CHECK(!spec_.Empty(), "faults '{}': nothing to sweep; name a model, e.g. mibb", text);
  for (size_t i = 0; i < spec_.terms.size(); ++i) {
    const std::string term = spec_.terms[i].Text();
    if (i > 0) text_ += '+';
    if (open_[i] == 0) {
      text_ += term;
      continue;
    }
    const size_t rate = term.find(':') + 1;
    text_.append(term, 0, rate);
    text_ += '*';
    text_.append(term, rate + kPlaceholderText.size());
  }
}

FaultSpec FaultCurve::At(double rate) const {
  FaultSpec spec = spec_;
  for (size_t i = 0; i < spec.terms.size(); ++i) {
    if (open_[i] != 0) spec.terms[i].rate = rate;
  }
  return ParseFaultSpec(spec.Text());  // checks the rate
}

double FaultCurve::RateOf(const FaultSpec& spec) const {
  for (size_t i = 0; i < open_.size(); ++i) {
    if (open_[i] != 0) return spec.terms[i].rate;
  }
  return spec.terms[0].rate;
}

std::vector<double> ParseRates(const std::string& text, const std::string& option) {
  const size_t first = text.find(':'), second = text.find(':', first + 1);
  std::vector<double> rates;
  if (first != std::string::npos) {
    FTT_CHECK(second != std::string::npos, "{}: '{}' is neither a list nor LOW:HIGH:STEP", option,
              text);
    const double low = ParseRate(text.substr(0, first), option);
    const double high = ParseRate(text.substr(first + 1, second - first - 1), option);
    FTT_CHECK(low <= high, "{}: {} is above {}", option, low, high);
    rates = Range(low, high, std::string_view(text).substr(second + 1), option);
  } else {
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      rates.push_back(ParseRate(std::string_view(text).substr(begin, end - begin), option));
      begin = end + 1;
    }
  }
  std::sort(rates.begin(), rates.end());
  rates.erase(std::unique(rates.begin(), rates.end()), rates.end());
  return rates;
}

}  // namespace ftt
