// The sums within one chunk, for a few rows of A and one panel of B.  Included once per instruction set.

constexpr int ROWS = VECTOR_BYTES == 64 ? 8 : 4;  // rows of A that share a load of B, as there are registers for
constexpr int PANEL = 2 * L;    // columns of a panel of B
constexpr int WINDOWS = 40;     // registers of an exact sum: enough for bfloat16 products in chunks of 2^20

// What one chunk needs, wherever the words come from.
struct Chunk {
  int64_t start, count;  // first product, and how many
  int64_t rows;          // of A, 1 to ROWS
  const void *a[ROWS];   // values of each row, float in the NARROW kind and double in the others
  const void *b;         // values of the panel, PANEL per product
  const double *a_powers[ROWS], *b_powers;  // ALIGNED
  const uint32_t *words;           // ROWS x PANEL per product, or null
  const uint32_t *row_words[ROWS][2];  // or per product, row and vector of the panel, to be turned by the lanes below
  vu turns[2], masks[2];           // SHARED words: shift to the right and then flip
};

enum Words { NONE, GIVEN, SHARED };

// Sums in float32.  Under rounding to nearest a sum of numbers of at most p <= 11 bits rounds to p bits as if it had not
// been rounded to 24 before (Figueroa 1995); the other modes need the sum's first p + r bits only and run with float32
// arithmetic that truncates.
struct Narrow {
  explicit Narrow(const Round &r)
      : cut(23 - r.mantissa), keep(~0u << cut), half(cut ? 1u << (cut - 1) : 0),
        least(r.low == CUT ? float(r.min_positive) : 0.0f), most(r.high ? float(r.max_finite) : __builtin_inff()),
        over(float(r.over_finite)), over_inf(float(r.over_inf)) {}

  int cut;
  uint32_t keep, half;
  float least, most, over, over_inf;
};

static int edges_of(const Round &r) {
  if (r.low != CUT && !r.high) return 0;
  return r.over_finite == r.over_inf || (r.over_finite != r.over_finite && r.over_inf != r.over_inf) ? 1 : 2;
}

// Whether a sum may have to become zero, or another number because it is too large; and whether that number is not the
// one that takes the place of infinity.
enum Edges { INSIDE, EDGED, TWO_EDGED };

// `word` is at its place among the bits that are cut.
template <int MODE, int EDGES>
INLINE vf narrowed(vf sum, vu word, const Narrow &n) {
  vu x = (vu)sum;
  if (MODE == RNE) x += ((x >> n.cut) & 1) + (n.half - 1);
  if (MODE == RHA) x += n.half;
  if (MODE == SR) x += word;
  x &= n.keep;  // a NaN stays one: the first bit of its payload is kept
  if (EDGES == INSIDE) return (vf)x;
  vf size = (vf)(x & ~SIGN32);
  size = size < n.least ? vf{} : size;
  vf beyond = vf{} + n.over;
  if (EDGES == TWO_EDGED) beyond = infinite(sum) ? vf{} + n.over_inf : beyond;
  size = size > n.most ? beyond : size;
  return (vf)((vu)size | ((vu)sum & SIGN32));
}

template <int MODE, int WORDS, int EDGES>
__attribute__((noinline)) static void narrow_chunk(const Chunk &chunk, const Round &r, float (*sums)[PANEL]) {
  const Narrow n(r);
  const int place = n.cut - r.bits;
  const uint32_t used = MODE == SR ? ((1u << r.bits) - 1) << place : 0;
  const float *b = static_cast<const float *>(chunk.b);
  vf s[ROWS][2];
  for (auto &row : s) row[0] = row[1] = (vf)(vu{} + SIGN32);
  for (int64_t k = 0; k < chunk.count; ++k) {
    const vf columns[2] = {load<vf>(b + k * PANEL), load<vf>(b + k * PANEL + L)};
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const float a = static_cast<const float *>(chunk.a[i])[k];
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        vu word = {};
        if (WORDS == GIVEN) word = load<vu>(chunk.words + (k * ROWS + i) * PANEL + j * L) << place;
        if (WORDS == SHARED) word = ((chunk.row_words[i][j][k] >> chunk.turns[j]) & used) ^ chunk.masks[j];
        s[i][j] = narrowed<MODE, EDGES>(s[i][j] + a * columns[j], word, n);
      }
    }
  }
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < 2; ++j) store(sums[i] + j * L, s[i][j]);
}

// Sums in float64, for any format and mode.
template <int MODE>
static void wide_chunk(const Chunk &chunk, const Round &r, double (*sums)[PANEL]) {
  constexpr int VECTORS = PANEL / D;
  const double *b = static_cast<const double *>(chunk.b);
  for (int64_t i = 0; i < chunk.rows; ++i) {
    const double *a = static_cast<const double *>(chunk.a[i]);
    vd s[VECTORS];
    for (auto &v : s) v = negative_zero();
    for (int64_t k = 0; k < chunk.count; ++k) {
      for (int j = 0; j < VECTORS; ++j) {
        vq word = {};
        if (MODE >= SR)
          word = __builtin_convertvector(load<hu>(chunk.words + (k * ROWS + i) * PANEL + j * D), vq);
        s[j] = rounded<MODE>(add_odd(s[j], a[k] * load<vd>(b + k * PANEL + j * D)), word, r);
      }
    }
    for (int j = 0; j < VECTORS; ++j) store(sums[i] + j * D, s[j]);
  }
}

// Exact sums: within a window of 53 bits float64 addition loses nothing.
static void exact_chunk(const Chunk &chunk, const Gemm &g, double (*sums)[ROWS][PANEL]) {
  constexpr int VECTORS = PANEL / D;
  const double *b = static_cast<const double *>(chunk.b);
  if (g.windows == 1) {
    constexpr int SOME = ROWS / 2;
    for (int half = 0; half < ROWS; half += SOME) {
      vd s[SOME][VECTORS];
      for (auto &row : s)
        for (auto &v : row) v = negative_zero();
      for (int64_t k = 0; k < chunk.count; ++k)
#pragma GCC unroll 4
        for (int i = 0; i < SOME; ++i) {
          const double a = static_cast<const double *>(chunk.a[half + i])[k];
#pragma GCC unroll 4
          for (int j = 0; j < VECTORS; ++j) s[i][j] += a * load<vd>(b + k * PANEL + j * D);
        }
      for (int i = 0; i < SOME; ++i)
        for (int j = 0; j < VECTORS; ++j) store(sums[0][half + i] + j * D, s[i][j]);
    }
    return;
  }
  if (g.windows == 2) {
    const double border = __builtin_ldexp(1.0, g.window_base + g.window_bits);
    for (int64_t i = 0; i < chunk.rows; ++i) {
      const double *a = static_cast<const double *>(chunk.a[i]);
      vd low[VECTORS], high[VECTORS];
      for (int j = 0; j < VECTORS; ++j) low[j] = high[j] = negative_zero();
      for (int64_t k = 0; k < chunk.count; ++k)
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; ++j) {
          vd product = a[k] * load<vd>(b + k * PANEL + j * D);
          vl small = magnitude(product) < border;  // infinities and NaNs go to the top
          low[j] += small ? product : negative_zero();
          high[j] += small ? negative_zero() : product;
        }
      for (int j = 0; j < VECTORS; ++j) {
        store(sums[0][i] + j * D, low[j]);
        store(sums[1][i] + j * D, high[j]);
      }
    }
    return;
  }
  double from[WINDOWS + 1];
  for (int w = 1; w < g.windows; ++w) from[w] = __builtin_ldexp(1.0, g.window_base + w * g.window_bits);
  for (int64_t i = 0; i < chunk.rows; ++i) {
    const double *a = static_cast<const double *>(chunk.a[i]);
    for (int j = 0; j < VECTORS; ++j) {
      vd s[WINDOWS];
      for (int w = 0; w < g.windows; ++w) s[w] = negative_zero();
      for (int64_t k = 0; k < chunk.count; ++k) {
        vd product = a[k] * load<vd>(b + k * PANEL + j * D);
        vd size = magnitude(product);
        vl above = vl{} - 1;
        for (int w = g.windows - 1; w > 0; --w) {
          vl here = above & ~(vl)(size < from[w]);
          s[w] += here ? product : negative_zero();
          above &= ~here;
        }
        s[0] += above ? product : negative_zero();
      }
      for (int w = 0; w < g.windows; ++w) store(sums[w][i] + j * D, s[w]);
    }
  }
}

// y plus an exact sum's windows, rounded to odd: they are made into an expansion of parts that do not overlap
// (Shewchuk 1997), which is added up from its least part.
INLINE vd add_windows(vd y, vd scale, const double (*sums)[ROWS][PANEL], int windows, int i, int column) {
  vd part[WINDOWS + 1];
  vd plain = y;
  part[0] = y;
  for (int w = 0; w < windows; ++w) {
    vd carried = load<vd>(&sums[w][i][column]) * scale;
    plain += carried;
    for (int p = 0; p <= w; ++p) {
      Pair sum = two_sum(carried, part[p]);
      carried = sum.sum;
      part[p] = sum.error;
    }
    part[w + 1] = carried;
  }
  vd total = part[0];
  for (int p = 1; p <= windows; ++p) total = total == 0.0 ? part[p] : add_odd(part[p], total);
  total = total == 0.0 ? vd{} : total;
  total = (vq)plain == SIGN64 ? plain : total;  // every term is -0
  return plain - plain == 0.0 ? total : plain;
}

// y plus products that are cut to a common quantum, exactly.
static void aligned_chunk(const Chunk &chunk, const Gemm &g, double (*y)[PANEL], const double (*scale)[PANEL]) {
  const double *b = static_cast<const double *>(chunk.b);
  const double two_f = double(uint64_t(1) << g.fraction_bits);
  const double emin_value = __builtin_ldexp(1.0, 1 - g.code.bias);
  const double lowest = g.code.gradual ? emin_value : 0.0;
  const vd round_up = splat(4503599627370496.0);  // 2^52: adding it leaves no fraction
  auto cut = [&](vd x) {
    vd size = magnitude(x);
    vd whole = (size + round_up) - round_up;
    whole = whole > size ? whole - 1.0 : whole;
    return with_sign(whole, (vq)x & SIGN64);
  };
  for (int64_t i = 0; i < chunk.rows; ++i) {
    const double *a = static_cast<const double *>(chunk.a[i]);
    for (int column = 0; column < PANEL; column += D) {
      vd sum = load<vd>(y[i] + column), factor = load<vd>(scale[i] + column);
      vd top = {};
      for (int64_t k = 0; k < chunk.count; ++k) {
        vd power = chunk.a_powers[i][k] * load<vd>(chunk.b_powers + k * PANEL + column);
        top = power > top ? power : top;
      }
      top *= factor;
      vd size = magnitude(sum);
      vd power = (vd)((vq)size & uint64_t(0x7FF0000000000000));
      power = power < lowest ? splat(lowest) : power;
      power = size == 0.0 ? vd{} : power;
      top = power > top ? power : top;
      vd up = two_f / top;
      vd total = cut(sum * up), plain = sum;
      vl zeros = (vl)((vq)sum == SIGN64);
      vd raise = up * factor;
      for (int64_t k = 0; k < chunk.count; ++k) {
        vd product = a[k] * load<vd>(b + k * PANEL + column);
        zeros &= (vl)((vq)product == SIGN64);
        plain += product * factor;
        total += cut(product * raise);
      }
      vd result = total == 0.0 ? vd{} : total * (top / two_f);
      result = top == 0.0 ? vd{} : result;
      result = zeros ? negative_zero() : result;
      store(y[i] + column, plain - plain == 0.0 ? result : plain);
    }
  }
}
