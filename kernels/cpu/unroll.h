// FTT_UNROLL before a loop of up to 8 rounds: unrolled fully, so that arrays it indexes can live in
// registers.
#pragma once

#if defined(__clang__)
#define FTT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FTT_UNROLL _Pragma("GCC unroll 8")
#endif
