// Sums in float32.  Included once per instruction set, inside its namespace.
//
// RNE: a sum of numbers of at most p <= 11 bits rounds to nearest as if it had not been rounded to 24 bits before (Figueroa
// 1995).  All else runs with float32 arithmetic that truncates.  RHA, RTZ and SR need a sum's first p + r bits only.  ODD
// rounds to nearest, too, from whatever numbers s and y: their truncated sum x is exact if and only if x - s, truncated, is
// y; otherwise what was cut off decides a tie.

struct Narrow {
  explicit Narrow(const Round &r)
      : cut(23 - r.mantissa), keep(~0u << cut), half(cut ? 1u << (cut - 1) : 0), magic((uint32_t(cut) << 23) + (1u << 22)),
        emin(float(r.emin_value)), least(r.low == CUT ? float(r.min_positive) : 0.0f),
        most(r.high ? float(r.max_finite) : __builtin_inff()), over(float(r.over_finite)), over_inf(float(r.over_inf)) {}

  int cut;
  uint32_t keep, half, magic;
  float emin, least, most, over, over_inf;
};

// What a sum may have to become besides what all its bits round to: zero, a subnormal number, or what is beyond the largest.
enum Edges { INSIDE = 0, CUTS = 1, GRADES = 2, ENDS = 4 };

// CUTS alone makes a zero +0, what a format without -0 does not tell from -0.
static int edges_of(const Round &r, bool negative_zero) {
  const int high = r.high || (r.low == CUT && negative_zero && r.mode != RNE) ? ENDS : INSIDE;
  return high | (r.low == GRADUAL ? GRADES : r.low == CUT || high ? CUTS : INSIDE);
}

// To nearest, ties to even: adding 1.5 * 2^cut times a number's own power of two leaves it as many bits as are kept.  A zero
// loses its sign; an Inf keeps to itself, as the power's exponent wraps around.
template <int EDGES>
INLINE vf nearest(vf sum, const Narrow &n) {
  vi power = (vi)sum & 0x7F800000;
  if (EDGES & GRADES) {
    const vi least = (vi)(vf{} + n.emin);
    power = power > least ? power : least;
  }
  const vf magic = (vf)((vu)power + n.magic);
  return (sum + magic) - magic;
}

// With bits that are added and bits that are cut; `word` is at its place among these.
template <int MODE, int EDGES>
INLINE vf cut_off(vf sum, vi inexact, vu word, const Narrow &n) {
  vu x = (vu)sum;
  vi small = {};
  if (EDGES & GRADES) {
    // In the binade above emin an ulp is what it is for all smaller numbers.
    const vf size = magnitude(sum), raised = size + n.emin;
    small = size < n.emin;
    x = small ? (vu)raised | (x & SIGN32) : x;
    if (MODE == ODD) inexact |= small & (raised - n.emin != size);
  }
  if (MODE == ODD) x += (((x >> n.cut) | (vu)inexact) & 1) + (n.half - 1);
  if (MODE == RHA) x += n.half;
  if (MODE == SR) x += word;
  x &= n.keep;  // a NaN stays one: the first bit of its payload is kept
  if (EDGES & GRADES) {
    const vu lowered = (vu)(magnitude((vf)x) - n.emin) | (x & SIGN32);
    x = small ? lowered : x;
  }
  return (vf)x;
}

// s + y, rounded.
template <int MODE, int EDGES>
INLINE vf added(vf s, vf y, vu word, const Narrow &n) {
  const vf sum = s + y;
  if (MODE == NATIVE) return sum;
  vi inexact = {};
  if (MODE == ODD) inexact = sum - s != y;
  const vf r = MODE == RNE ? nearest<EDGES>(sum, n) : cut_off<MODE, EDGES>(sum, inexact, word, n);
  if (!(EDGES & (CUTS | ENDS))) return r;
  vf size = magnitude(r);
  const vi tiny = size < n.least;
  if (!(EDGES & ENDS)) return tiny ? vf{} : r;
  if (EDGES & CUTS) size = tiny ? vf{} : size;
  const vf beyond = infinite(sum) ? vf{} + n.over_inf : vf{} + n.over;
  size = size > n.most ? beyond : size;
  return (vf)((vu)size | ((vu)sum & SIGN32));
}

// R lines times one panel of lanes.
template <int MODE, int WORDS, int EDGES, int R>
__attribute__((noinline)) static void narrow_chunk(const Chunk &chunk, const Round &r, float (*sums)[PANEL]) {
  const Narrow n(r);
  const int place = n.cut - r.bits;
  const uint32_t used = MODE == SR ? ((1u << r.bits) - 1) << place : 0;
  const float *lanes = static_cast<const float *>(chunk.lanes), *lines[R];
  for (int i = 0; i < R; ++i) lines[i] = static_cast<const float *>(chunk.lines) + i * chunk.count;
  vf s[R][2];
  for (auto &line : s) line[0] = line[1] = (vf)(vu{} + SIGN32);
  for (int64_t k = 0; k < chunk.count; ++k) {
    const vf panel[2] = {load<vf>(lanes + k * PANEL), load<vf>(lanes + k * PANEL + L)};
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const float line = lines[i][k];
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        vu word = {};
        if (WORDS == GIVEN) word = load<vu>(chunk.words + (k * ROWS + i) * PANEL + j * L) << place;
        if (WORDS == SHARED) word = ((chunk.line_words[i][j][k] >> chunk.turns[j]) & used) ^ chunk.masks[j];
        if (WORDS == LANED)
          word = ((load<vu>(chunk.lane_words[i] + k * PANEL + j * L) >> chunk.turn[i]) & used) ^ chunk.mask[i];
        s[i][j] = added<MODE, EDGES>(s[i][j], line * panel[j], word, n);
      }
    }
  }
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < 2; ++j) store(sums[i] + j * L, s[i][j]);
}

template <int EDGES, int R>
static void run_narrow(const Chunk &chunk, const Round &r, Words words, float (*sums)[PANEL]) {
  switch (r.mode) {
    case RNE: return narrow_chunk<RNE, NONE, EDGES, R>(chunk, r, sums);
    case NATIVE: return narrow_chunk<NATIVE, NONE, INSIDE, R>(chunk, r, sums);
    case ODD: return narrow_chunk<ODD, NONE, EDGES, R>(chunk, r, sums);
    case RHA: return narrow_chunk<RHA, NONE, EDGES, R>(chunk, r, sums);
    case RTZ: return narrow_chunk<RTZ, NONE, EDGES, R>(chunk, r, sums);
    default:
      if (words == SHARED) return narrow_chunk<SR, SHARED, EDGES, R>(chunk, r, sums);
      if (words == LANED) return narrow_chunk<SR, LANED, EDGES, R>(chunk, r, sums);
      return narrow_chunk<SR, GIVEN, EDGES, R>(chunk, r, sums);
  }
}

template <int R>
static void run_narrow(const Chunk &chunk, const Round &r, int edges, Words words, float (*sums)[PANEL]) {
  switch (edges) {
    case INSIDE: return run_narrow<INSIDE, R>(chunk, r, words, sums);
    case CUTS: return run_narrow<CUTS, R>(chunk, r, words, sums);
    case GRADES: return run_narrow<GRADES, R>(chunk, r, words, sums);
    case GRADES | ENDS: return run_narrow<GRADES | ENDS, R>(chunk, r, words, sums);
    default: return run_narrow<CUTS | ENDS, R>(chunk, r, words, sums);
  }
}
