// Vectors of one instruction set, and sums that keep what rounding would lose.
// Included once per instruction set, inside its namespace.

constexpr int L = VECTOR_BYTES / 4;  // lanes of 32 bits
constexpr int D = VECTOR_BYTES / 8;  // lanes of 64 bits

typedef float vf __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t vu __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t vi __attribute__((vector_size(VECTOR_BYTES)));
typedef double vd __attribute__((vector_size(VECTOR_BYTES)));
typedef uint64_t vq __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t vl __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t hu __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef float hf __attribute__((vector_size(VECTOR_BYTES / 2)));

// The two kinds of floating-point lanes.
template <class F>
struct Lanes;
template <>
struct Lanes<float> {
  typedef vf value;
  typedef vu bits;
  typedef vi truth;
  typedef uint32_t word;
  typedef int32_t signed_word;
  static constexpr int COUNT = L, WIDTH = 32, MANTISSA = 23, BIAS = 127;
};
template <>
struct Lanes<double> {
  typedef vd value;
  typedef vq bits;
  typedef vl truth;
  typedef uint64_t word;
  typedef int64_t signed_word;
  static constexpr int COUNT = D, WIDTH = 64, MANTISSA = 52, BIAS = 1023;
};

#define INLINE static inline __attribute__((always_inline))

template <class V, class T>
INLINE V load(const T *from) {
  V v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

template <class V, class T>
INLINE void store(T *to, V v) {
  __builtin_memcpy(to, &v, sizeof v);
}

constexpr uint64_t SIGN64 = uint64_t(1) << 63;
constexpr uint32_t SIGN32 = uint32_t(1) << 31;

INLINE vd magnitude(vd x) { return (vd)((vq)x & ~SIGN64); }
INLINE vf magnitude(vf x) { return (vf)((vu)x & ~SIGN32); }
INLINE vd with_sign(vd magnitude, vq sign) { return (vd)((vq)magnitude | sign); }
INLINE vl infinite(vd x) { return magnitude(x) > 1.7976931348623157e308; }
INLINE vi infinite(vf x) { return magnitude(x) > 3.402823466e38f; }
INLINE vd splat(double x) { return vd{} + x; }
INLINE vd negative_zero() { return (vd)(vq{} + SIGN64); }

struct Pair {
  vd sum, error;
};

// x + y = sum + error exactly (Knuth's TwoSum), under rounding to nearest.
INLINE Pair two_sum(vd x, vd y) {
  vd sum = x + y;
  vd part = sum - x;
  return {sum, (x - (sum - part)) + (y - part)};
}

// x + y rounded to odd: exact, or one of its two neighbours, that with an odd last bit.  A further rounding to at least
// two bits less is then the rounding of the exact sum (Boldo and Melquiond 2008).
INLINE vd add_odd(vd x, vd y) {
  Pair p = two_sum(x, y);
  vq bits = (vq)p.sum;
  vl inexact = (p.error > 0.0) | (p.error < 0.0);  // false for the NaN that follows from an infinity
  vl even = (vl)((bits & 1) == 0);
  vq away = ((vq)p.error ^ bits) >> 63;  // 1: the exact sum lies toward zero of the rounded one
  vq moved = bits + 1 - 2 * away;
  return (vd)((inexact & even) ? moved : bits);
}
