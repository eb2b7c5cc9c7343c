// Vector intrinsics where the compiler has them for x86: FTT_X86_INTRINSICS says so. For .cc files
// only.
#pragma once

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define FTT_X86_INTRINSICS 1
#if !defined(__clang__)
#pragma GCC diagnostic ignored \
    "-Wmaybe-uninitialized"  // GCC bug 105593: false alarms inside its own intrinsics
#endif
#include <immintrin.h>
#endif
