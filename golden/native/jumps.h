// Leaps of the LFSR to any index: matrices over GF(2) (lfsr.py).
#pragma once

#include <cstdint>

namespace quaver {

struct Matrix {
  uint32_t column[32];
};

// The leap of `bits` steps, to the powers of two.
struct Jumps {
  static constexpr int COUNT = 48;
  Matrix power[COUNT];

  explicit Jumps(int bits);
};

// That many leaps in one.
Matrix power_of(const Jumps &jumps, int64_t leaps);

}  // namespace quaver
