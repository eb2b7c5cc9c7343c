// Numbers and names as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/statistics.h"

namespace ftt {

// 0.4938 -> "49.4 %".
std::string PercentText(double share, int digits = 1);
// "49.4 % (49.1..49.7)", cut to 0..100, with a second decimal where the interval is narrow;
// "49.4 % (one trial)" where there is no interval.
std::string PercentText(const MeanEstimate& estimate);
// Four significant digits, or `digits` decimals; a dash for what is not a number. 1e-05 -> "1e-5".
std::string NumberText(double value, int digits = -1);
std::string CountText(int64_t value);      // "10,000"
std::string DurationText(double seconds);  // "48 s", "12 min", "2 h 5 min"
// "mibb:0.0001" and "mibb:1e-04" -> "mibb:1e-4".
std::string FaultText(const std::string& spec);
// For names of files and anchors: a-z, 0-9 and single dashes; never empty.
std::string Slug(std::string_view text);

}  // namespace ftt
