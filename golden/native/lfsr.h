// The leaping LFSR (lfsr.py), a lane per generator.  Included once per instruction set, inside its namespace.

// All of 32 bits: state' = (state >> 1) ^ (state & 1 ? 0x80200003 : 0), `bits` times, 1 to 22.
// Bit i of `fed` is what the register shifts out at step i: bit i of the state, plus what the feedback's taps 0 and 1 have
// brought down by then, fed(i) = state(i) + fed(i-1) + fed(i-2).  So fed = state (1 + x) / (1 + x^3) over GF(2).
INLINE vu leap_once(vu state, int bits) {
  vu fed = state ^ (state << 1);
  fed ^= fed << 3;
  fed ^= fed << 6;
  if (bits > 12) fed ^= fed << 12;
  fed &= (1u << bits) - 1;
  vu low = bits > 1 ? fed >> (bits - 2) : fed << 1;
  return (state >> bits) ^ (fed << (32 - bits)) ^ (fed << (22 - bits)) ^ low ^ (fed >> (bits - 1));
}

INLINE vu leap(vu state, int bits) {
  if (bits > 22) return leap_once(leap_once(state, 12), bits - 12);  // tap 21 would come down within the leap
  return leap_once(state, bits);
}

INLINE vu times(const Matrix &m, vu x) {
  vu y = {};
  for (int b = 0; b < 32; ++b) y ^= m.column[b] & (0u - ((x >> b) & 1u));
  return y;
}

INLINE vu jumped(const Jumps &jumps, vu state, int64_t leaps) {
  for (int i = 0; leaps >> i; ++i)
    if (leaps >> i & 1) state = times(jumps.power[i], state);
  return state;
}

INLINE uint32_t seed_of(uint32_t seed, uint32_t generator) {
  uint32_t x = seed + generator * 0x9E3779B9u;
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  x ^= x >> 16;
  return x ? x : 1;
}
