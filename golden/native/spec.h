// What a call asks for, in plain numbers: derived from the descriptions by engine.py, read by every kernel.
#pragma once

#include <cstdint>

#include "jumps.h"

namespace quaver {

enum Mode { RNE, RHA, RTZ, SR, SR_UNBIASED };
enum Low { UNBOUNDED, GRADUAL, CUT };  // what happens below the smallest normal number; UNBOUNDED: nothing gets there
enum Inner { NARROW, WIDE, EXACT, ALIGNED };  // float sums held in float32 or in float64; the other kinds

// One rounding, carried out on float64 values that hold the sum or, odd in the last place, stand for it.
struct Round {
  int mode;
  int mantissa;       // M
  int bits;           // r; one more under sr_fast
  int fast;           // sr_fast: the word is 2 * word + 1
  int low;
  int high;           // whether a sum can exceed max_finite, or an infinity must be replaced
  int parity;         // of the code of 2^emin where M = 0; 0 otherwise
  double emin_value;  // 2^emin
  double min_positive;
  double max_finite;
  double over_finite;  // what takes the place of a finite number beyond max_finite
  double over_inf;     // and of an infinity; NaN where the format has no Inf
};

// How a value that the format holds becomes a code.
struct Code {
  int mantissa;
  int bias;
  int gradual;
  int negative_zero;
  int nan_sign;  // whether a NaN keeps its sign
  int is_signed;
  uint32_t sign_mask, nan_code, inf_code;
  uint32_t below, below_inf;  // unsigned formats: the codes of a negative number and of -Inf
  double emin_value;
};

// The law of an array's words (array_words.py).
struct Law {
  int64_t rows, columns, segments, depth;
  uint32_t seed;
  int64_t beats, sums;                // items issued before this call
  int64_t batch_beats, batch_sums;    // items that one GEMM issues
};

struct Gemm {
  int64_t batch, m, k, n, chunk;
  const void *a, *b;
  int a_bytes, b_bytes;               // 1 or 2 per code
  int64_t a_stride, b_stride;         // codes per GEMM; 0 where all share one operand
  const double *a_values, *b_values;  // by code
  const double *a_powers, *b_powers;  // ALIGNED: 2^exponent by code, 0 of zero
  const double *c;                    // null for +0
  void *out;
  int out_bytes;
  int inner;
  int outer_narrow;                   // whether float32 suffices for the outer sums too
  Round inner_round, outer_round;
  Code code;
  int inner_negative_zero, inner_has_inf, inner_has_nan, outer_has_nan;
  int windows;                        // EXACT: registers a product may fall into
  int window_bits, window_base;       // window w holds |product| >= 2^(window_base + w * window_bits)
  int fraction_bits;                  // ALIGNED
  const double *a_scales, *b_scales;  // of the blocks: (batch, m, chunks) and (batch, chunks, n); null for none
  const uint32_t *inner_words, *outer_words;  // (k, batch, m, n) and (chunks, batch, m, n); null where the law makes them
  int inner_bits, outer_bits;         // of a word; 0 for none
  const Jumps *inner_jumps, *outer_jumps;  // of the generators; null where no words are made
  Law law;
};

struct Cast {
  int64_t count;
  const void *values;
  int value_bytes;       // 4 or 8
  void *out;
  int out_bytes;
  int narrow;            // whether float32 arithmetic suffices
  Round round;
  Code code;
  uint32_t max_code, min_code, over_code, inf_code;  // magnitudes, for the narrow path
  int has_nan;
  const uint32_t *words; // null where the law makes them, or none are needed
  int word_bits;
  const uint32_t *seeds; // initial states of the lanes
  int64_t lanes, issued;
  const Jumps *jumps;
};

// The kernels of one instruction set.
struct Kernels {
  const char *name;
  int panel;  // columns of a panel of B
  void (*pack)(const Gemm &, int64_t batch, int64_t panel, void *into);
  // One block of rows, within an m_block of the law, times some panels; false if a NaN met a format without one.
  bool (*multiply)(const Gemm &, int64_t batch, int64_t first_row, int64_t rows, int64_t first_panel, int64_t panels,
                   const void *packed, void *scratch);
  int64_t (*scratch_bytes)(const Gemm &, int64_t rows);
  bool (*cast)(const Cast &, int64_t first, int64_t count, void *scratch);
  int64_t (*cast_scratch_bytes)(const Cast &);
};

const Kernels &baseline_kernels();
const Kernels &avx2_kernels();
const Kernels &avx512_kernels();

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace quaver
