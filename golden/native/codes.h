// Codes to values and back, and to where the kernels want them.  Included once per instruction set, inside its namespace.

// Values of codes; their number is rounded up to a multiple of SPAN.
constexpr int64_t SPAN = 32;

template <class F, class T, bool GRADUAL, bool PLAIN>
static void decode(const Operand &o, const T *codes, int64_t count, F *into) {
  using V = Lanes<F>;
  using value = typename V::value;
  using bits = typename V::bits;
  using truth = typename V::truth;
  using word = typename V::word;
  const int shift = V::MANTISSA - o.mantissa, sign_shift = o.sign_mask ? V::WIDTH - 32 + __builtin_clz(o.sign_mask) : 0;
  const word rebias = word(V::BIAS - o.bias) << V::MANTISSA, one = word(1) << V::MANTISSA;
  const word magnitude_mask = o.magnitude_mask, sign_mask = o.sign_mask;
  const typename V::signed_word least_normal = o.least_normal, max_code = o.max_code;
  const value emin = value{} + F(o.emin_value), nan = value{} + F(__builtin_nan(""));
  const value inf = o.has_inf ? value{} + F(__builtin_inf()) : nan;
  // Widened some time before they are used: one vector is read of what may have been written as two.
  constexpr int64_t SOME = 8 * SPAN;
  word wide[SOME];
  for (int64_t i = 0; i < count; i += SOME) {
    const int64_t left = ceil_div(count - i, SPAN) * SPAN, some = left < SOME ? left : SOME;
    for (int64_t j = 0; j < some; ++j) wide[j] = codes[i + j];
    for (int64_t j = 0; j < some; j += V::COUNT) {
      const bits code = load<bits>(wide + j), size = code & magnitude_mask, normal = (size << shift) + rebias;
      // A subnormal number, as if it were in the binade above: then that is taken away.
      const value below = GRADUAL ? (value)(normal + one) - emin : value{};
      value v = (truth)size < least_normal ? below : (value)normal;
      bits sign = (code & sign_mask) << sign_shift;
      if (!PLAIN) {
        v = (truth)size > max_code ? ((truth)size == max_code + 1 ? inf : nan) : v;
        if (o.nan_at_sign) v = code == sign_mask ? nan : v;
        if (!o.negative_zero) sign = v == F(0) ? bits{} : sign;
      }
      store(into + i + j, (value)((bits)v | sign));
    }
  }
}

template <class F, class T>
static void decode(const Operand &o, const T *codes, int64_t count, F *into) {
  const auto run = o.gradual ? (o.plain ? decode<F, T, true, true> : decode<F, T, true, false>)
                             : (o.plain ? decode<F, T, false, true> : decode<F, T, false, false>);
  run(o, codes, count, into);
}

// 2^exponent of each value, emin of a subnormal one; 0 of zero.
static void powers(const double *values, int64_t count, double emin_value, double *into) {
  for (int64_t i = 0; i < count; i += D) {
    const vd v = load<vd>(values + i);
    const vd power = (vd)((vq)v & uint64_t(0x7FF0000000000000));
    store(into + i, v == 0.0 ? vd{} : power < emin_value ? splat(emin_value) : power);
  }
}

// Codes of values that the format holds; `sign` is that of what was cast.
template <class F>
INLINE typename Lanes<F>::bits encoded(typename Lanes<F>::value x, typename Lanes<F>::bits sign, const Code &c) {
  using V = Lanes<F>;
  using bits = typename V::bits;
  using truth = typename V::truth;
  using word = typename V::word;
  const auto size = magnitude(x);
  bits base = bits{} + (word(V::BIAS - c.bias) << c.mantissa);
  bits kept = (bits)size;
  if (c.gradual) {
    const truth small = size < F(c.emin_value);
    kept = small ? (bits)(size + F(c.emin_value)) : kept;
    base += (bits)small & (word(1) << c.mantissa);
  }
  bits code = (kept >> (V::MANTISSA - c.mantissa)) - base;
  code = size == F(0) ? bits{} : code;
  const truth nan = x != x;
  code = infinite(size) ? bits{} + word(c.inf_code) : code;
  code = nan ? bits{} + word(c.nan_code) : code;
  truth negative = (truth)(sign != 0) & (c.nan_sign ? truth{} - 1 : ~nan);
  if (!c.negative_zero) negative &= (truth)(code != 0);
  if (!c.is_signed) {
    code = (negative & ~nan) ? (infinite(size) ? bits{} + word(c.below_inf) : bits{} + word(c.below)) : code;
    return code;
  }
  return code | ((bits)negative & word(c.sign_mask));
}

#if defined(__clang__)
#define SHUFFLED(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLED(a, b, ...) __builtin_shuffle(a, b, decltype(a){__VA_ARGS__})
#endif

// Vectors of 16 bytes: the first halves of two, and the second ones, in turns.
template <class T>
struct Interleave;
template <>
struct Interleave<uint8_t> {
  typedef uint8_t vector __attribute__((vector_size(16)));
  static vector low(vector a, vector b) { return SHUFFLED(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); }
  static vector high(vector a, vector b) {
    return SHUFFLED(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
};
template <>
struct Interleave<uint16_t> {
  typedef uint16_t vector __attribute__((vector_size(16)));
  static vector low(vector a, vector b) { return SHUFFLED(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
  static vector high(vector a, vector b) { return SHUFFLED(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
};
template <>
struct Interleave<uint32_t> {
  typedef uint32_t vector __attribute__((vector_size(16)));
  static vector low(vector a, vector b) { return SHUFFLED(a, b, 0, 4, 1, 5); }
  static vector high(vector a, vector b) { return SHUFFLED(a, b, 2, 6, 3, 7); }
};

// The first `count` elements of a vector of 16 bytes.
template <class T, class V>
INLINE void store_first(T *to, V v, int64_t count) {
  const int64_t bytes = count * int64_t(sizeof(T));
  char from[16];
  store(from, v);
  const auto ends = [&](auto word) {  // they overlap
    constexpr int64_t size = sizeof word;
    __builtin_memcpy(to, from, size);
    __builtin_memcpy(reinterpret_cast<char *>(to) + bytes - size, from + bytes - size, size);
  };
  if (bytes >= 8) return ends(uint64_t());
  if (bytes >= 4) return ends(uint32_t());
  if (bytes >= 2) return ends(uint16_t());
  ends(uint8_t());
}

// to[column * to_stride + row] = from[row * from_stride + column]
template <class T>
static void transpose(const T *from, int64_t from_stride, T *to, int64_t to_stride, int64_t rows, int64_t columns) {
  using V = typename Interleave<T>::vector;
  constexpr int64_t N = 16 / sizeof(T);
  if (columns < N) {
    for (int64_t column = 0; column < columns; ++column)
      for (int64_t row = 0; row < rows; ++row) to[column * to_stride + row] = from[row * from_stride + column];
    return;
  }
  // Squares, of which the last ones overlap.
  const int64_t height = rows < N ? rows : N;
  for (int64_t r = 0; r < rows; r += N)
    for (int64_t c = 0; c < columns; c += N) {
      const int64_t row = r < rows - height ? r : rows - height, column = c < columns - N ? c : columns - N;
      V v[N] = {}, w[N];
      for (int i = 0; i < N && i < height; ++i) v[i] = load<V>(from + (row + i) * from_stride + column);
#pragma GCC unroll 4
      for (int step = 1; step < N; step *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < N / 2; ++i) {
          w[2 * i] = Interleave<T>::low(v[i], v[i + N / 2]);
          w[2 * i + 1] = Interleave<T>::high(v[i], v[i + N / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) v[i] = w[i];
      }
      for (int i = 0; i < N; ++i) {
        T *const line = to + (column + i) * to_stride + row;
        height == N ? store(line, v[i]) : store_first(line, v[i], height);
      }
    }
}

template <class T>
static const T *codes_of(const Operand &o, int64_t batch, int64_t line, int64_t start) {
  return static_cast<const T *>(o.codes) + batch * o.batch + line * o.line + start * o.step;
}

// Codes of some products of some lines, one line after the other.
template <class T>
static void fetch_lines(const Operand &o, int64_t batch, Span lines, Span products, T *to) {
  const T *from = codes_of<T>(o, batch, lines.first, products.first);
  if (o.step != 1) return transpose(from, o.step, to, products.count, products.count, lines.count);
  for (int64_t i = 0; i < lines.count; ++i)
    __builtin_memcpy(to + i * products.count, from + i * o.line, products.count * sizeof(T));
}

// Codes of some products of at most WIDTH lines, one product after the other, WIDTH for each: zeros fill them up.
template <int WIDTH, class T>
static void fetch_lanes(const Operand &o, int64_t batch, Span lines, Span products, T *to) {
  typedef T V __attribute__((vector_size(WIDTH * sizeof(T))));
  const T *from = codes_of<T>(o, batch, lines.first, products.first);
  if (o.line != 1) {
    if (lines.count < WIDTH) __builtin_memset(to, 0, products.count * WIDTH * sizeof(T));
    return transpose(from, o.line, to, WIDTH, lines.count, products.count);
  }
  V used = {};
  for (int64_t i = 0; i < lines.count; ++i) used[i] = T(-1);
  const T *const end = static_cast<const T *>(o.codes) + o.size;
  for (int64_t k = 0; k < products.count; ++k, from += o.step, to += WIDTH) {
    if (end - from >= WIDTH) {  // what lies beyond the lines is read, too
      store(to, load<V>(from) & used);
    } else {
      for (int64_t i = 0; i < WIDTH; ++i) to[i] = i < lines.count ? from[i] : T(0);
    }
  }
}

// The values of some products of some lines, of `whole` of which the last ones are zeros.
template <class F, class T>
static void load_lines(const Operand &o, int64_t batch, Span lines, int64_t whole, Span products, T *codes, F *into) {
  fetch_lines(o, batch, lines, products, codes);
  __builtin_memset(codes + lines.count * products.count, 0, (whole - lines.count) * products.count * sizeof(T));
  decode(o, codes, whole * products.count, into);
}

template <int WIDTH, class F, class T>
static void load_lanes(const Operand &o, int64_t batch, Span lines, Span products, T *codes, F *into) {
  fetch_lanes<WIDTH>(o, batch, lines, products, codes);
  decode(o, codes, WIDTH * products.count, into);
}

template <class T>
static Magnitudes magnitudes_of(const T *codes, int64_t count, T mask) {
  T least = T(-1), largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const T size = codes[i] & mask, before = T(size - 1);  // of zero, that is the largest
    least = before < least ? before : least;
    largest = size > largest ? size : largest;
  }
  return {uint32_t(least) + 1, uint32_t(largest)};
}

static Magnitudes magnitudes(const void *codes, int bytes, int64_t count, uint32_t mask) {
  if (bytes == 1) return magnitudes_of(static_cast<const uint8_t *>(codes), count, uint8_t(mask));
  return magnitudes_of(static_cast<const uint16_t *>(codes), count, uint16_t(mask));
}
