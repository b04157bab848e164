// The sums within one chunk in float64.  Included once per instruction set, inside its namespace.

// Sums in float64, for any format and mode.
template <int MODE>
static void wide_chunk(const Chunk &chunk, const Round &r, double (*sums)[PANEL]) {
  constexpr int VECTORS = PANEL / D;
  const double *b = static_cast<const double *>(chunk.lanes);
  for (int64_t i = 0; i < chunk.group; ++i) {
    const double *a = static_cast<const double *>(chunk.lines) + i * chunk.count;
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

static void run_wide(const Chunk &chunk, const Round &r, double (*sums)[PANEL]) {
  switch (r.mode) {
    case RNE: return wide_chunk<RNE>(chunk, r, sums);
    case RHA: return wide_chunk<RHA>(chunk, r, sums);
    case RTZ: return wide_chunk<RTZ>(chunk, r, sums);
    case SR: return wide_chunk<SR>(chunk, r, sums);
    default: return wide_chunk<SR_UNBIASED>(chunk, r, sums);
  }
}

// Exact sums: within a window of 53 bits float64 addition loses nothing.
static void exact_chunk(const Chunk &chunk, const Gemm &g, double (*sums)[ROWS][PANEL]) {
  constexpr int VECTORS = PANEL / D;
  const double *b = static_cast<const double *>(chunk.lanes);
  if (g.windows == 1) {
    constexpr int SOME = ROWS / 2;
    for (int half = 0; half < chunk.group; half += SOME) {
      vd s[SOME][VECTORS];
      for (auto &row : s)
        for (auto &v : row) v = negative_zero();
      for (int64_t k = 0; k < chunk.count; ++k)
#pragma GCC unroll 4
        for (int i = 0; i < SOME; ++i) {
          const double a = static_cast<const double *>(chunk.lines)[(half + i) * chunk.count + k];
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
    for (int64_t i = 0; i < chunk.group; ++i) {
      const double *a = static_cast<const double *>(chunk.lines) + i * chunk.count;
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
  for (int64_t i = 0; i < chunk.group; ++i) {
    const double *a = static_cast<const double *>(chunk.lines) + i * chunk.count;
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
  const double *b = static_cast<const double *>(chunk.lanes);
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
  for (int64_t i = 0; i < chunk.group; ++i) {
    const double *a = static_cast<const double *>(chunk.lines) + i * chunk.count;
    for (int column = 0; column < PANEL; column += D) {
      vd sum = load<vd>(y[i] + column), factor = load<vd>(scale[i] + column);
      vd top = {};
      for (int64_t k = 0; k < chunk.count; ++k) {
        vd power = chunk.line_powers[i * chunk.count + k] * load<vd>(chunk.lane_powers + k * PANEL + column);
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
