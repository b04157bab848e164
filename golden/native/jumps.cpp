// The matrices of many leaps.

#include "jumps.h"

namespace quaver {

namespace {

uint32_t times(const Matrix &m, uint32_t x) {
  uint32_t y = 0;
  for (int b = 0; b < 32; ++b) y ^= m.column[b] & (0u - ((x >> b) & 1));
  return y;
}

}  // namespace

Jumps::Jumps(int bits) {
  for (int b = 0; b < 32; ++b) {
    uint32_t state = 1u << b;
    for (int i = 0; i < bits; ++i) state = (state >> 1) ^ (state & 1 ? 0x80200003u : 0u);
    power[0].column[b] = state;
  }
  for (int i = 1; i < COUNT; ++i)
    for (int b = 0; b < 32; ++b) power[i].column[b] = times(power[i - 1], power[i - 1].column[b]);
}

Matrix power_of(const Jumps &jumps, int64_t leaps) {
  Matrix m;
  for (int b = 0; b < 32; ++b) {
    m.column[b] = 1u << b;
    for (int i = 0; leaps >> i; ++i)
      if (leaps >> i & 1) m.column[b] = times(jumps.power[i], m.column[b]);
  }
  return m;
}

}  // namespace quaver
