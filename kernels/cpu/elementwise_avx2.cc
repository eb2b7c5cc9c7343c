#define FTT_ISA isa_avx2
#define FTT_ISA_NAME "avx2"
#include "kernels/cpu/elementwise_impl.h"
