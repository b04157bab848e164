// Casts of floats to codes.  Included once per instruction set, inside its namespace.

constexpr int64_t CAST_BLOCK = 4096;  // elements whose words are made at a time

template <class T>
INLINE void store_codes(void *out, int64_t at, vu codes) {
  typedef T narrow __attribute__((vector_size(L * sizeof(T))));
  store(static_cast<T *>(out) + at, __builtin_convertvector(codes, narrow));
}

// L float32 to codes in float32 and integer arithmetic, which must truncate in all modes but RNE.
template <int MODE>
INLINE vu narrow_codes(vf x, vu word, const Cast &c, vi &nan_met) {
  const Round &r = c.round;
  const int cut = 23 - r.mantissa;
  const int32_t base = (127 - c.code.bias) * (1 << r.mantissa);
  const vu bits = (vu)x & ~SIGN32, sign = (vu)x & SIGN32;
  const vf size = (vf)bits;
  const bool gradual = r.low == GRADUAL;
  const vi small = size < float(r.emin_value);
  vu kept = bits;
  if (MODE == RNE) {
    kept += ((1u << cut >> 1) - 1) + (((bits >> cut) & 1) ^ uint32_t(r.parity));
  } else {
    if (gradual) kept = small ? (vu)(size + float(r.emin_value)) : kept;
    if (MODE == RHA) kept += 1u << cut >> 1;
    if (MODE == SR) kept += word << (cut - r.bits);
  }
  vi code = (vi)(kept >> cut) - base;
  if (gradual) {
    if (MODE == RNE) {
      // Where an ulp of float32 is the format's smallest number, the addition itself rounds.
      const float ulps = float(r.emin_value) * float(1 << cut);
      code = small ? (vi)((vu)(size + ulps) - (vu)(vf{} + ulps)) : code;
    } else {
      code -= small & (1 << r.mantissa);
    }
  } else {
    code = code < int32_t(c.min_code) ? vi{} : code;
  }
  code = code > int32_t(c.max_code) ? vi{} + int32_t(c.over_code) : code;
  const vi nan = (vi)bits > 0x7F800000;
  code = (vi)bits == 0x7F800000 ? vi{} + int32_t(c.inf_code) : code;
  if (c.has_nan) code = nan ? vi{} + int32_t(c.code.nan_code) : code;
  nan_met |= nan;
  if (c.code.negative_zero && (c.code.nan_sign || !c.has_nan)) return (vu)code | sign >> __builtin_clz(c.code.sign_mask);
  vi negative = (vi)(sign != 0);
  if (!c.code.nan_sign && c.has_nan) negative &= code != int32_t(c.code.nan_code);
  if (!c.code.negative_zero) negative &= code != 0;
  return (vu)code | ((vu)negative & c.code.sign_mask);
}

// L floats to codes by way of float64.
template <class T>
INLINE vu wide_codes(const T *x, const uint32_t *words, const Cast &c, vi &nan_met) {
  uint32_t codes[L], nans[L];
  for (int j = 0; j < L; j += D) {
    vd v;
    if (sizeof(T) == 4) {
      v = __builtin_convertvector(load<hf>(x + j), vd);
    } else {
      v = load<vd>(x + j);
    }
    vq word = {};
    if (words) word = __builtin_convertvector(load<hu>(words + j), vq);
    store(codes + j, __builtin_convertvector(encoded<double>(rounded(v, word, c.round), (vq)v & SIGN64, c.code), hu));
    store(nans + j, __builtin_convertvector((vq)(v != v), hu));
  }
  nan_met |= (vi)load<vu>(nans);
  return load<vu>(codes);
}

template <int MODE, class OUT>
static void cast_narrow(const Cast &c, const float *x, const uint32_t *words, int64_t first, int64_t count, vi &nan_met) {
  for (int64_t i = 0; i < count; i += L) {
    vu word = {};
    if (MODE == SR) word = load<vu>(words + i);
    store_codes<OUT>(c.out, first + i, narrow_codes<MODE>(load<vf>(x + i), word, c, nan_met));
  }
}

template <class T, class OUT>
static void cast_wide(const Cast &c, const T *x, const uint32_t *words, int64_t first, int64_t count, vi &nan_met) {
  for (int64_t i = 0; i < count; i += L)
    store_codes<OUT>(c.out, first + i, wide_codes(x + i, words ? words + i : nullptr, c, nan_met));
}

// A multiple of L elements.
template <class OUT>
static void cast_whole(const Cast &c, const void *values, const uint32_t *words, int64_t first, int64_t count, vi &nan_met) {
  const float *x = static_cast<const float *>(values);
  if (c.narrow) {
    switch (c.round.mode) {
      case RNE: return cast_narrow<RNE, OUT>(c, x, words, first, count, nan_met);
      case RHA: return cast_narrow<RHA, OUT>(c, x, words, first, count, nan_met);
      case RTZ: return cast_narrow<RTZ, OUT>(c, x, words, first, count, nan_met);
      default: return cast_narrow<SR, OUT>(c, x, words, first, count, nan_met);
    }
  }
  if (c.value_bytes == 4) return cast_wide<float, OUT>(c, x, words, first, count, nan_met);
  cast_wide<double, OUT>(c, static_cast<const double *>(values), words, first, count, nan_met);
}

template <class OUT>
static void cast_some(const Cast &c, const uint32_t *words, int64_t first, int64_t count, vi &nan_met) {
  const char *from = static_cast<const char *>(c.values) + first * c.value_bytes;
  const int64_t whole = count / L * L, rest = count - whole;
  cast_whole<OUT>(c, from, words, first, whole, nan_met);
  if (!rest) return;
  double x[L] = {};
  uint32_t some_words[L] = {};
  OUT codes[L];
  __builtin_memcpy(x, from + whole * c.value_bytes, rest * c.value_bytes);
  if (words) __builtin_memcpy(some_words, words + whole, rest * sizeof(uint32_t));
  Cast last = c;
  last.out = codes;
  cast_whole<OUT>(last, x, words ? some_words : nullptr, 0, L, nan_met);
  __builtin_memcpy(static_cast<OUT *>(c.out) + first + whole, codes, rest * sizeof(OUT));
}

// The words of lanes, some items at a time.
class LaneWords {
 public:
  LaneWords(const Cast &c, int64_t first, void *scratch)
      : lanes(c.lanes), bits(c.word_bits), chains(lanes % L == 0 ? CHAINS : 1), steps(steps_of(lanes)),
        states(static_cast<uint32_t *>(scratch)),
        words(states + CHAINS * lanes + L),
        skip(power_of(*c.jumps, (chains - 1) * steps)) {
    const int64_t done = c.issued + first / lanes + 1;
    for (int chain = 0; chain < chains; ++chain)
      for (int64_t lane = 0; lane < lanes; lane += L) {
        vu seeds = {};
        for (int i = 0; i < L && lane + i < lanes; ++i) seeds[i] = c.seeds[lane + i];
        store(states + chain * lanes + lane, jumped(*c.jumps, seeds, done + chain * steps));
      }
  }

  static int64_t bytes(const Cast &c) {
    return 4 * (CHAINS * (steps_of(c.lanes) + 1) * c.lanes + 2 * L);
  }
  int64_t count() const { return chains * steps * lanes; }

  // The next count() words, in the order of the elements.
  const uint32_t *next() { return chains == 1 ? plain() : chained(); }

 private:
  static constexpr int CHAINS = 8;
  const int64_t lanes;
  const int bits, chains;
  const int64_t steps;
  uint32_t *const states, *const words;
  const Matrix skip;

  static int64_t steps_of(int64_t lanes) { return lanes * CHAINS < CAST_BLOCK ? CAST_BLOCK / (lanes * CHAINS) : 1; }

  // What a vector writes beyond the lanes is overwritten by the next item's words.
  const uint32_t *plain() {
    for (int64_t item = 0; item < steps; ++item)
      for (int64_t lane = 0; lane < lanes; lane += L) {
        const vu state = load<vu>(states + lane);
        store(words + item * lanes + lane, state >> (32 - bits));
        store(states + lane, leap(state, bits));
      }
    return words;
  }

  // A few stretches of the sequence at once: a register alone would wait for itself at every step.
  const uint32_t *chained() {
    for (int64_t lane = 0; lane < lanes; lane += L) {
      vu state[CHAINS];
      for (int chain = 0; chain < CHAINS; ++chain) state[chain] = load<vu>(states + chain * lanes + lane);
      for (int64_t step = 0; step < steps; ++step)
#pragma GCC unroll 8
        for (int chain = 0; chain < CHAINS; ++chain) {
          store(words + (chain * steps + step) * lanes + lane, state[chain] >> (32 - bits));
          state[chain] = leap(state[chain], bits);
        }
      for (int chain = 0; chain < CHAINS; ++chain) store(states + chain * lanes + lane, times(skip, state[chain]));
    }
    return words;
  }
};

static int64_t cast_scratch_bytes(const Cast &c) { return c.seeds ? LaneWords::bytes(c) : 0; }

// Elements first .. first + count - 1; where the law makes the words, `first` is a multiple of the lanes.
static bool cast(const Cast &c, int64_t first, int64_t count, void *scratch) {
  vi nan_met = {};
  const Arithmetic arithmetic(c.narrow && c.round.mode != RNE);
  auto some = [&](const uint32_t *words, int64_t at, int64_t n) {
    if (c.out_bytes == 1) cast_some<uint8_t>(c, words, at, n, nan_met);
    if (c.out_bytes == 2) cast_some<uint16_t>(c, words, at, n, nan_met);
    if (c.out_bytes == 4) cast_some<uint32_t>(c, words, at, n, nan_met);
  };
  if (!c.seeds) {
    some(c.words ? c.words + first : nullptr, first, count);
  } else {
    LaneWords words(c, first, scratch);
    for (int64_t at = 0; at < count; at += words.count())
      some(words.next(), first + at, count - at < words.count() ? count - at : words.count());
  }
  int32_t together = 0;
  for (int i = 0; i < L; ++i) together |= nan_met[i];
  return c.has_nan || !together;
}
