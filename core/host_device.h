// Marks functions that host and device code share.
#pragma once

#ifdef __CUDACC__
#define FTT_HD __host__ __device__
#else
#define FTT_HD
#endif
