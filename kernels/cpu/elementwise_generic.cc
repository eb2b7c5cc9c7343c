#define FTT_ISA isa_generic
#define FTT_ISA_NAME "generic"
#include "kernels/cpu/elementwise_impl.h"
