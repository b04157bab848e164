// Kernels for x86 with AVX-512.
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#define VECTOR_BYTES 64
#define ISA avx512
#define ISA_NAME "avx512"
#define KERNELS avx512_kernels
#include "isa.h"
#endif
