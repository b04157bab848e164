// What a call asks for, in plain numbers: derived from the descriptions by engine.py, read by every kernel.
#pragma once

#include <cstdint>

#include "jumps.h"

namespace quaver {

// Of float32 sums: ODD is RNE of any addends, NATIVE what float32 arithmetic does by itself.
enum Mode { RNE, RHA, RTZ, SR, SR_UNBIASED, ODD, NATIVE };
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

  bool truncates() const { return mode != RNE && mode != NATIVE; }  // float32 sums
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

// An operand's codes and what they mean.  Its lines are the rows of A, or the columns of B.
struct Operand {
  const void *codes;
  int64_t size;                 // codes there are
  int bytes;                    // 1 or 2 per code
  int64_t batch;                // codes from one GEMM's to the next one's; 0 where all share them
  int64_t line, step;           // codes from one line to the next, and from one product to the next: one of them is 1
  int mantissa, bias, gradual;
  int plain;                    // whether there is neither an Inf nor a NaN, and the format has a -0
  int negative_zero, has_inf, nan_at_sign;  // nan_at_sign: the code of -0 is NaN
  uint32_t sign_mask, magnitude_mask;
  uint32_t least_normal, max_code;  // below the former a code is subnormal, or zero
  double emin_value;
};

struct Gemm {
  int64_t batch, m, k, n, chunk;
  Operand lines, lanes;               // each line's values are spread over vectors of lanes: A and B, or, if swapped, B and A
  int swapped;
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

  bool makes_inner_words() const { return inner_bits && !inner_words; }
  bool makes_outer_words() const { return outer_bits && !outer_words; }
  // Whether a word, put where the cut bits of a float32 sum are, twice over, is turned by one shift.
  bool turns_words() const {
    return makes_inner_words() && inner == NARROW && inner_round.mode == SR && inner_bits + 23 - inner_round.mantissa <= 32;
  }
  int64_t line_count() const { return swapped ? n : m; }
  int64_t lane_count() const { return swapped ? m : n; }
  int64_t line_stride() const { return swapped ? 1 : n; }  // of the results
  int64_t lane_stride() const { return swapped ? n : 1; }
};

// Some of something that is numbered.
struct Span {
  int64_t first, count;
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

// Of codes; the least one is above the largest where all are zeros.
struct Magnitudes {
  uint32_t least, largest;
};

constexpr int64_t MOST_LINES = 64;  // that a task has

// The kernels of one instruction set.
struct Kernels {
  const char *name;
  int panel;  // lanes that are summed side by side
  int rows;   // and lines, at most
  // Some lines times some lanes; what the law numbers by m lies within one m_block.  False if a NaN met a format without one.
  bool (*multiply)(const Gemm &, int64_t batch, Span lines, Span lanes, void *scratch);
  int64_t (*scratch_bytes)(const Gemm &, int64_t lines, int64_t lanes);
  // The least magnitude but zero of some codes, and the largest; the mask is that of a magnitude.
  Magnitudes (*magnitudes)(const void *codes, int bytes, int64_t count, uint32_t mask);
  bool (*cast)(const Cast &, int64_t first, int64_t count, void *scratch);
  int64_t (*cast_scratch_bytes)(const Cast &);
};

const Kernels &baseline_kernels();
const Kernels &avx2_kernels();
const Kernels &avx512_kernels();

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace quaver
