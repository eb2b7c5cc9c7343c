#define FTT_ISA isa_avx512
#define FTT_ISA_NAME "avx512"
#include "kernels/cpu/elementwise_impl.h"
