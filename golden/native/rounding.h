// Rounding in float64.  Included once per instruction set, inside its namespace.

// The word's place in a significand that is to lose `cut` bits.
INLINE vq placed(vq word, const Round &r, int cut) {
  return (r.fast ? 2 * word + 1 : word) << (cut - r.bits);
}

// Round values that are exact or odd in their last place; `word` matters to the stochastic modes only.
template <int MODE>
INLINE vd rounded(vd x, vq word, const Round &r) {
  const int cut = 52 - r.mantissa;
  vq sign = (vq)x & SIGN64;
  vd size = magnitude(x);
  vq bits = (vq)size;
  vl small = size < r.emin_value;
  vq parity = vq{} + uint64_t(r.parity);
  if (r.low == GRADUAL) {
    // In the binade above emin an ulp is what it is for all smaller numbers.
    bits = small ? (vq)add_odd(size, splat(r.emin_value)) : bits;
    if (r.mantissa == 0) parity ^= (vq)small & 1;
  }
  if (MODE == RNE) bits += (((uint64_t(1) << cut) >> 1) - 1) + (((bits >> cut) & 1) ^ parity);
  if (MODE == RHA) bits += (uint64_t(1) << cut) >> 1;
  if (MODE == SR) bits += placed(word, r, cut);
  if (MODE == SR_UNBIASED) {
    const int rest = cut - r.bits;
    bits += ((uint64_t(1) << (rest - 1)) - 1) + ((bits >> rest) & 1);
    bits = ((bits >> rest) + word) << rest;
  }
  vd v = (vd)(bits >> cut << cut);
  if (r.low == GRADUAL) v = small ? v - r.emin_value : v;
  if (r.low == CUT) v = v < r.min_positive ? vd{} : v;
  if (r.high) {
    vd beyond = infinite(size) ? splat(r.over_inf) : splat(r.over_finite);
    v = v > r.max_finite ? beyond : v;
  }
  v = with_sign(v, sign);
  return x == x ? v : x;
}

INLINE vd rounded(vd x, vq word, const Round &r) {
  switch (r.mode) {
    case RNE: return rounded<RNE>(x, word, r);
    case RHA: return rounded<RHA>(x, word, r);
    case RTZ: return rounded<RTZ>(x, word, r);
    case SR: return rounded<SR>(x, word, r);
    default: return rounded<SR_UNBIASED>(x, word, r);
  }
}
