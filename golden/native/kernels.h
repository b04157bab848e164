// A block of rows of A times some panels of B: chunk by chunk, inner sums first, then the outer ones.
// Included once per instruction set, inside its namespace.

typedef double Row[PANEL];
typedef float NarrowRow[PANEL];

static int64_t value_bytes(const Gemm &g) { return g.inner == NARROW ? sizeof(float) : sizeof(double); }

// Whether every lane of a vector can take its word from the vector's row word with one shift and one flip.
static bool shares_words(const Gemm &g) {
  const int cut = 23 - g.inner_round.mantissa;
  return g.inner == NARROW && g.inner_round.mode == SR && !g.inner_words && g.law.columns % L == 0 &&
         g.inner_bits + cut <= 32;
}

// Tiles of the array that one panel can touch.
static int64_t panel_tiles(const Gemm &g) { return (PANEL - 1) / g.law.columns + 2; }

static bool makes_row_words(const Gemm &g) { return g.inner_bits && !g.inner_words; }

// The areas of a task's scratch memory, one after another.
struct Scratch {
  uintptr_t at;
  template <class T>
  T *take(int64_t count) {
    T *area = reinterpret_cast<T *>(at);
    at += uintptr_t(count * int64_t(sizeof(T)) + 63) / 64 * 64;
    return area;
  }
};

struct Areas {
  char *a;
  double *a_powers;
  Row *y, *scale, *sums;
  NarrowRow *narrow, *narrow_y;
  uint32_t *row_words, *outer_words, *given;

  Areas(const Gemm &g, int64_t rows, Scratch s) {
    const int64_t whole = ceil_div(rows, ROWS) * ROWS, chunks = ceil_div(g.k, g.chunk);
    const int64_t tiles = panel_tiles(g);
    a = s.take<char>(rows * g.k * value_bytes(g));
    a_powers = s.take<double>(g.inner == ALIGNED ? rows * g.k : 0);
    y = s.take<Row>(whole);
    scale = s.take<Row>(whole);
    sums = s.take<Row>(g.inner == EXACT ? int64_t(ROWS) * g.windows : g.inner == WIDE ? whole : 0);
    narrow = s.take<NarrowRow>(whole);
    narrow_y = s.take<NarrowRow>(g.outer_narrow ? whole : 0);
    row_words = s.take<uint32_t>(makes_row_words(g) ? tiles * rows * word_stride(g) : 0);
    outer_words = s.take<uint32_t>(g.outer_bits ? chunks * rows * PANEL : 0);
    given = s.take<uint32_t>(g.inner_bits ? (g.chunk < g.k ? g.chunk : g.k) * ROWS * PANEL : 0);
    end = s.at;
  }
  uintptr_t end;
};

static int64_t scratch_bytes(const Gemm &g, int64_t rows) { return int64_t(Areas(g, rows, Scratch{0}).end) + 64; }

INLINE uint32_t code_at(const void *codes, int bytes, int64_t index) {
  return bytes == 1 ? static_cast<const uint8_t *>(codes)[index] : static_cast<const uint16_t *>(codes)[index];
}

// A panel of B as values, PANEL per product; in the ALIGNED kind its powers follow.
static void pack(const Gemm &g, int64_t batch, int64_t panel, void *into) {
  const int64_t first = panel * PANEL, used = g.n - first < PANEL ? g.n - first : PANEL;
  double *powers = static_cast<double *>(into) + g.k * PANEL;
  for (int64_t k = 0; k < g.k; ++k) {
    for (int64_t j = 0; j < PANEL; ++j) {
      const int64_t at = k * PANEL + j;
      const uint32_t code = j < used ? code_at(g.b, g.b_bytes, batch * g.b_stride + k * g.n + first + j) : 0;
      const double value = j < used ? g.b_values[code] : 0.0;
      if (g.inner == NARROW) {
        static_cast<float *>(into)[at] = float(value);
      } else {
        static_cast<double *>(into)[at] = value;
      }
      if (g.inner == ALIGNED) powers[at] = j < used ? g.b_powers[code] : 0.0;
    }
  }
}

static void unpack_rows(const Gemm &g, int64_t batch, int64_t first_row, int64_t rows, const Areas &areas) {
  const int64_t from = batch * g.a_stride + first_row * g.k;
  for (int64_t i = 0; i < rows * g.k; ++i) {
    const uint32_t code = code_at(g.a, g.a_bytes, from + i);
    if (g.inner == NARROW) {
      reinterpret_cast<float *>(areas.a)[i] = float(g.a_values[code]);
    } else {
      reinterpret_cast<double *>(areas.a)[i] = g.a_values[code];
    }
    if (g.inner == ALIGNED) areas.a_powers[i] = g.a_powers[code];
  }
}

// The words of a group of rows, as its kernel wants them one by one.
static void give_words(const Gemm &g, const Areas &areas, int64_t batch, int64_t first_row, int64_t group, int64_t rows,
                       int64_t column, int64_t first_tile, int64_t start, int64_t count) {
  const int64_t used = g.n - column < PANEL ? g.n - column : PANEL, last = g.n - 1;
  uint32_t turn[PANEL], mask[PANEL];
  int64_t tile[PANEL];
  if (!g.inner_words)
    for (int64_t j = 0; j < PANEL; ++j) {
      const int64_t at = column + j < last ? column + j : last;
      turn[j] = turn_of(at % g.law.columns, g.inner_bits);
      mask[j] = mask_of(at % g.law.columns, g.inner_bits);
      tile[j] = (at / g.law.columns - first_tile) * rows * word_stride(g);
    }
  const uint32_t all = (1u << g.inner_bits) - 1;
  for (int64_t k = 0; k < count; ++k)
    for (int64_t i = 0; i < ROWS && group + i < rows; ++i) {
      uint32_t *to = areas.given + (k * ROWS + i) * PANEL;
      if (g.inner_words) {
        const uint32_t *from = g.inner_words + (((start + k) * g.batch + batch) * g.m + first_row + group + i) * g.n + column;
        for (int64_t j = 0; j < used; ++j) to[j] = from[j];
        for (int64_t j = used; j < PANEL; ++j) to[j] = 0;
        continue;
      }
      const uint32_t *from = areas.row_words + (group + i) * word_stride(g) + start + k;
      for (int j = 0; j < PANEL; j += L) {
        vu word;
        if (tile[j] == tile[j + L - 1]) {
          word = vu{} + from[tile[j]];
        } else {
          for (int lane = 0; lane < L; ++lane) word[lane] = from[tile[j + lane]];
        }
        const vu turns = load<vu>(turn + j);
        store(to + j, (((word << turns) | (word >> (uint32_t(g.inner_bits) - turns))) & all) ^ load<vu>(mask + j));
      }
    }
}

template <int EDGES>
static void run_narrow(const Gemm &g, const Chunk &chunk, Words words, NarrowRow *sums) {
  const Round &r = g.inner_round;
  switch (r.mode) {
    case RNE:
      // A format of 24 significant bits is what float32 arithmetic rounds to by itself.
      return r.mantissa == 23 ? narrow_chunk<RTZ, NONE, EDGES>(chunk, r, sums) : narrow_chunk<RNE, NONE, EDGES>(chunk, r, sums);
    case RHA: return narrow_chunk<RHA, NONE, EDGES>(chunk, r, sums);
    case RTZ: return narrow_chunk<RTZ, NONE, EDGES>(chunk, r, sums);
    default:
      return words == SHARED ? narrow_chunk<SR, SHARED, EDGES>(chunk, r, sums) : narrow_chunk<SR, GIVEN, EDGES>(chunk, r, sums);
  }
}

static void run_wide(const Gemm &g, const Chunk &chunk, Row *sums) {
  switch (g.inner_round.mode) {
    case RNE: return wide_chunk<RNE>(chunk, g.inner_round, sums);
    case RHA: return wide_chunk<RHA>(chunk, g.inner_round, sums);
    case RTZ: return wide_chunk<RTZ>(chunk, g.inner_round, sums);
    case SR: return wide_chunk<SR>(chunk, g.inner_round, sums);
    default: return wide_chunk<SR_UNBIASED>(chunk, g.inner_round, sums);
  }
}

// A finished inner sum as what joins the outer one (mac.chunk_addend).
INLINE vd joining(vd s, const Gemm &g, vl &nan) {
  if (!g.inner_has_inf) s = infinite(s) ? splat(__builtin_nan("")) : s;
  if (!g.inner_negative_zero) s = s == 0.0 ? negative_zero() : s;
  if (!g.inner_has_nan) nan |= s != s;
  return s;
}

INLINE bool any(vl mask) {
  int64_t together = 0;
  for (int i = 0; i < D; ++i) together |= mask[i];
  return together != 0;
}

// One block of rows times some panels.
class Task {
 public:
  Task(const Gemm &g, int64_t batch, int64_t first_row, int64_t rows, int64_t first_panel, int64_t panels, void *scratch)
      : g(g), batch(batch), first_row(first_row), rows(rows), first_panel(first_panel), panels(panels),
        areas(g, rows, Scratch{reinterpret_cast<uintptr_t>(scratch)}), chunks(ceil_div(g.k, g.chunk)),
        shared(shares_words(g)), cut(23 - g.inner_round.mantissa) {}

  bool run(const void *packed) {
    const Arithmetic nearest(false);
    unpack_rows(g, batch, first_row, rows, areas);
    if (makes_row_words(g)) stride = power_of(*g.inner_jumps, place_of(g, first_row).size);
    const int64_t panel_bytes = g.k * PANEL * value_bytes(g) * (g.inner == ALIGNED ? 2 : 1);
    for (int64_t p = first_panel; p < first_panel + panels; ++p) {
      column = p * PANEL;
      used = g.n - column < PANEL ? g.n - column : PANEL;
      start_panel();
      for (int64_t c = 0; c < chunks; ++c) {
        start_chunk(static_cast<const char *>(packed) + p * panel_bytes, c);
        sum_chunk();
        if (g.outer_narrow) {
          join_narrow(c);
          continue;
        }
        if (g.inner <= WIDE) join_chunk();
        round_sums(c);
      }
      encode_panel();
    }
    return !any(nan);
  }

 private:
  const Gemm &g;
  const int64_t batch, first_row, rows, first_panel, panels;
  const Areas areas;
  const int64_t chunks;
  const bool shared;
  const int cut;
  int64_t column = 0, used = 0;
  int64_t first_tile = 0, tiles = 0;  // of the array, whose row words are at hand
  Matrix stride = {};                 // leaps from one item of a row's generator to that of its next tile
  Chunk chunk = {};
  vl nan = {};

  bool makes_outer_words() const { return g.outer_bits && !g.outer_words; }
  int64_t element(int64_t m, int64_t j) const { return (batch * g.m + first_row + m) * g.n + column + j; }

  void make_inner_words() {
    const int64_t from = column / g.law.columns, to = (column + used - 1) / g.law.columns;
    if (from >= first_tile && to < first_tile + tiles) return;
    first_tile = from;
    tiles = to + 1 - from;
    make_row_words(g, stride, batch, first_row, rows, first_tile, tiles, areas.row_words);
    if (!shared) return;
    for (int64_t i = 0; i < tiles * rows * word_stride(g); ++i) {  // twice over, where the cut bits are: a turn is one shift
      const uint32_t w = areas.row_words[i];
      areas.row_words[i] = (w | w << g.inner_bits) << (cut - g.inner_bits);
    }
  }

  void start_panel() {
    for (int64_t m = 0; m < ceil_div(rows, ROWS) * ROWS; ++m)
      for (int64_t j = 0; j < PANEL; ++j) {
        areas.y[m][j] = g.c && m < rows && j < used ? g.c[element(m, j)] : 0.0;
        if (g.outer_narrow) areas.narrow_y[m][j] = float(areas.y[m][j]);
        areas.scale[m][j] = 1.0;
      }
    if (makes_row_words(g)) make_inner_words();
    if (makes_outer_words()) make_outer_words(g, batch, first_row, rows, column, areas.outer_words);
    if (g.outer_words)
      for (int64_t c = 0; c < chunks; ++c)
        for (int64_t m = 0; m < rows; ++m)
          for (int64_t j = 0; j < PANEL; ++j)
            areas.outer_words[(c * rows + m) * PANEL + j] =
                j < used ? g.outer_words[c * g.batch * g.m * g.n + element(m, j)] : 0;
    if (shared)
      for (int j = 0; j < 2; ++j)
        for (int lane = 0; lane < L; ++lane) {
          const int64_t at = (column + j * L + lane) % g.law.columns;
          chunk.turns[j][lane] = g.inner_bits - turn_of(at, g.inner_bits);
          chunk.masks[j][lane] = mask_of(at, g.inner_bits) << (cut - g.inner_bits);
        }
  }

  void start_chunk(const char *b, int64_t c) {
    chunk.start = c * g.chunk;
    chunk.count = g.k - chunk.start < g.chunk ? g.k - chunk.start : g.chunk;
    chunk.b = b + chunk.start * PANEL * value_bytes(g);
    chunk.b_powers = reinterpret_cast<const double *>(b) + (g.k + chunk.start) * PANEL;
    chunk.words = areas.given;
    if (!g.a_scales) return;
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t j = 0; j < used; ++j)
        areas.scale[m][j] = g.a_scales[(batch * g.m + first_row + m) * chunks + c] *
                            g.b_scales[(batch * chunks + c) * g.n + column + j];
  }

  void sum_chunk() {
    const Arithmetic arithmetic(g.inner == NARROW && g.inner_round.mode != RNE);
    for (int64_t group = 0; group < rows; group += ROWS) {
      chunk.rows = rows - group < ROWS ? rows - group : ROWS;
      for (int64_t i = 0; i < ROWS; ++i) {
        const int64_t row = group + i < rows ? group + i : rows - 1;
        chunk.a[i] = areas.a + (row * g.k + chunk.start) * value_bytes(g);
        chunk.a_powers[i] = areas.a_powers + row * g.k + chunk.start;
        if (shared)
          for (int j = 0; j < 2; ++j) {
            const int64_t at = column + j * L < g.n ? column + j * L : column;
            const int64_t tile = at / g.law.columns - first_tile;
            chunk.row_words[i][j] = areas.row_words + (tile * rows + row) * word_stride(g) + chunk.start;
          }
      }
      if (g.inner_bits && !shared)
        give_words(g, areas, batch, first_row, group, rows, column, first_tile, chunk.start, chunk.count);
      switch (g.inner) {
        case NARROW: {
          const int edges = edges_of(g.inner_round);
          const auto run = edges == INSIDE ? run_narrow<INSIDE> : edges == EDGED ? run_narrow<EDGED> : run_narrow<TWO_EDGED>;
          run(g, chunk, shared ? SHARED : GIVEN, areas.narrow + group);
          break;
        }
        case WIDE: run_wide(g, chunk, areas.sums + group); break;
        case EXACT: sum_exactly(group); break;
        default: aligned_chunk(chunk, g, areas.y + group, areas.scale + group);
      }
    }
  }

  void sum_exactly(int64_t group) {
    double(*sums)[ROWS][PANEL] = reinterpret_cast<double(*)[ROWS][PANEL]>(areas.sums);
    exact_chunk(chunk, g, sums);
    for (int64_t i = 0; i < chunk.rows; ++i)
      for (int j = 0; j < PANEL; j += D) {
        double *y = areas.y[group + i] + j;
        store(y, add_windows(load<vd>(y), load<vd>(areas.scale[group + i] + j), sums, g.windows, int(i), j));
      }
  }

  void join_chunk() {
    for (int64_t m = 0; m < rows; ++m)
      for (int j = 0; j < PANEL; j += D) {
        vd s;
        if (g.inner == NARROW) {
          s = __builtin_convertvector(load<hf>(areas.narrow[m] + j), vd);
        } else {
          s = load<vd>(areas.sums[m] + j);
        }
        s = joining(s, g, nan) * load<vd>(areas.scale[m] + j);
        store(areas.y[m] + j, add_odd(load<vd>(areas.y[m] + j), s));
      }
  }

  void join_narrow(int64_t c) {
    const Arithmetic arithmetic(g.outer_round.mode != RNE);
    switch (g.outer_round.mode) {
      case RNE: return g.outer_round.mantissa == 23 ? join_narrow<RTZ>(c) : join_narrow<RNE>(c);
      case RHA: return join_narrow<RHA>(c);
      case RTZ: return join_narrow<RTZ>(c);
      default: return join_narrow<SR>(c);
    }
  }

  template <int MODE>
  __attribute__((noinline)) void join_narrow(int64_t c) {
    const Narrow n(g.outer_round);
    const int place = n.cut - g.outer_round.bits;
    vi met = {};
    for (int64_t m = 0; m < rows; ++m)
      for (int j = 0; j < PANEL; j += L) {
        vf s = load<vf>(areas.narrow[m] + j);
        if (!g.inner_has_inf) s = infinite(s) ? vf{} + __builtin_nanf("") : s;
        if (!g.inner_negative_zero) s = s == 0.0f ? (vf)(vu{} + SIGN32) : s;
        if (!g.inner_has_nan) met |= s != s;
        vu word = {};
        if (MODE == SR) word = load<vu>(areas.outer_words + (c * rows + m) * PANEL + j) << place;
        store(areas.narrow_y[m] + j, narrowed<MODE, TWO_EDGED>(load<vf>(areas.narrow_y[m] + j) + s, word, n));
      }
    nan |= (vl)met;
  }

  void round_sums(int64_t c) {
    for (int64_t m = 0; m < rows; ++m)
      for (int j = 0; j < PANEL; j += D) {
        vq word = {};
        if (g.outer_bits) word = __builtin_convertvector(load<hu>(areas.outer_words + (c * rows + m) * PANEL + j), vq);
        store(areas.y[m] + j, rounded(load<vd>(areas.y[m] + j), word, g.outer_round));
      }
  }

  void encode_panel() {
    for (int64_t m = 0; m < rows; ++m) {
      uint64_t codes[PANEL];
      for (int j = 0; j < PANEL; j += D) {
        vd y;
        if (g.outer_narrow) {
          y = __builtin_convertvector(load<hf>(areas.narrow_y[m] + j), vd);
        } else {
          y = load<vd>(areas.y[m] + j);
        }
        if (!g.outer_has_nan) nan |= y != y;
        store(codes + j, encoded(y, (vq)y & SIGN64, g.code));
      }
      for (int64_t j = 0; j < used; ++j) {
        if (g.out_bytes == 1) static_cast<uint8_t *>(g.out)[element(m, j)] = uint8_t(codes[j]);
        if (g.out_bytes == 2) static_cast<uint16_t *>(g.out)[element(m, j)] = uint16_t(codes[j]);
        if (g.out_bytes == 4) static_cast<uint32_t *>(g.out)[element(m, j)] = uint32_t(codes[j]);
      }
    }
  }
};

static bool multiply(const Gemm &g, int64_t batch, int64_t first_row, int64_t rows, int64_t first_panel, int64_t panels,
                     const void *packed, void *scratch) {
  return Task(g, batch, first_row, rows, first_panel, panels, scratch).run(packed);
}
