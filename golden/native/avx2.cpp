// Kernels for x86 with AVX2.
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#define VECTOR_BYTES 32
#define ISA avx2
#define ISA_NAME "avx2"
#define KERNELS avx2_kernels
#include "isa.h"
#endif
