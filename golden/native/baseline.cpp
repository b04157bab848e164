// Kernels for whatever instruction set the compiler targets.
#define VECTOR_BYTES 16
#define ISA baseline
#define ISA_NAME "baseline"
#define KERNELS baseline_kernels
#include "isa.h"
