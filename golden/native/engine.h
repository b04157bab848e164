// The two calls of the engine: work split over threads, on the kernels that this machine can run.
#pragma once

#include "spec.h"

namespace quaver {

const Kernels &best_kernels();
// False if a NaN met a format that has none; what was written is then of no use.
bool run(const Gemm &gemm, const Kernels &kernels, int threads);
bool run(const Cast &cast, const Kernels &kernels, int threads);

}  // namespace quaver
