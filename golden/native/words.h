// Words that the law of an array makes (array_words.py), for the lines and lanes of a task.  Included once per instruction
// set, inside its namespace.

// Where rows of A lie in the loop nest.
struct Place {
  int64_t start, size;  // first row and rows of their m_block
  int64_t first;        // the first of them within it
};

static Place place_of(const Gemm &g, int64_t first_row) {
  const int64_t start = first_row / g.law.depth * g.law.depth;
  return {start, g.law.depth < g.m - start ? g.law.depth : g.m - start, first_row - start};
}

// How a column turns left and flips its row's word.
INLINE uint32_t turn_of(int64_t column, int bits) { return uint32_t(column % bits); }
INLINE uint32_t mask_of(int64_t column, int bits) { return (uint32_t(column) * 0x9E3779B1u) >> (32 - bits); }

INLINE void store_some(uint32_t *to, vu v, int64_t count) {
  __builtin_memcpy(to, &v, (count < L ? count : L) * sizeof(uint32_t));
}

// Words of the generators of the array's rows, chunk by chunk and then panel by panel: of the rows that are lines, for the
// tiles of the panel's columns; or, swapped, of the rows in the panel, for the tiles of the columns that are lines.
class RowWords {
 public:
  struct Areas {
    uint32_t *base;   // each generator's state before its next product, at the first row and tile
    uint32_t *at;     // states at the products of the chunk: of a tile's first row, or, swapped, of each tile's next row
    uint32_t *words;  // those of the panel
  };
  static int64_t base_count(const Gemm &g) { return (g.law.rows < g.k ? g.law.rows : g.k) + L; }
  static int64_t at_stride(int64_t count) { return ceil_div(count, SOME) * SOME; }
  static int64_t most_tiles(const Gemm &g, int64_t lines) { return ((g.swapped ? lines : PANEL) - 1) / g.law.columns + 2; }
  // From one line to the next: no power of two, or they would compete for the same lines of the cache.
  static int64_t word_stride(int64_t count) { return at_stride(count) + 24; }
  static int64_t word_count(const Gemm &g, int64_t count, int64_t lines) {
    return most_tiles(g, lines) * (g.swapped ? count * PANEL : lines * word_stride(count));
  }

  RowWords(const Gemm &g, int64_t batch, Span lines, Span lanes, const Areas &areas)
      : g(g), areas(areas), lines(lines.count), cut(23 - g.inner_round.mantissa), turned(words_of(g) != GIVEN) {
    if (!g.makes_inner_words()) return;
    const Law &law = g.law;
    const Span columns = g.swapped ? lines : lanes;
    const Place place = place_of(g, g.swapped ? lanes.first : lines.first);
    const int64_t steps = ceil_div(g.k, law.rows), all_tiles = ceil_div(g.n, law.columns);
    first = columns.first / law.columns;
    last = (columns.first + columns.count - 1) / law.columns;
    next_step = power_of(*g.inner_jumps, place.size);
    next_tile = power_of(*g.inner_jumps, place.size * steps);
    const int64_t item = law.beats + batch * law.batch_beats + place.start * all_tiles * steps +
                         first * steps * place.size + place.first;
    for (int64_t row = 0; row < law.rows && row < g.k; row += L) {
      vu seeds;
      for (int lane = 0; lane < L; ++lane) seeds[lane] = seed_of(law.seed, uint32_t(row + lane));
      store(areas.base + row, jumped(*g.inner_jumps, seeds, item + 1));
    }
  }

  void start_chunk(int64_t start, int64_t products) {
    count = products;
    for (int64_t k = 0, some; k < count; k += some) {
      const int64_t row = (start + k) % g.law.rows, left = g.law.rows - row;
      some = left < count - k ? left : count - k;
      for (int64_t i = 0; i < some; i += L) {
        const vu state = load<vu>(areas.base + row + i);
        store_some(areas.at + k + i, state, some - i);
        store_some(areas.base + row + i, times(next_step, state), some - i);
      }
    }
    at_tile = first;
    made = {first, 0};
    for (int64_t slot = 1; g.swapped && slot <= last - first; ++slot) {
      __builtin_memcpy(states(slot), states(slot - 1), count * sizeof(uint32_t));
      leap_tile(states(slot));
    }
  }

  // Not swapped: the words of the panel's columns, by tile, line and product.
  void make_tiles(int64_t column, int64_t used) {
    const int64_t from = column / g.law.columns, to = (column + used - 1) / g.law.columns;
    if (from >= made.first && to < made.first + made.count) return;
    made = {from, to + 1 - from};
    for (int64_t tile = from; tile <= to; ++tile) {
      for (; at_tile < tile; ++at_tile) leap_tile(areas.at);
      for (int64_t k = 0; k < count; k += SOME)
        leap_rows(areas.at + k, false, lines, line_words(tile * g.law.columns, 0) + k, word_stride(count));
    }
  }

  // Swapped: the words of the next `used` rows, by tile, product and row.
  void make_rows(int64_t used) {
    uint32_t some[PANEL * SOME];
    for (int64_t slot = 0; slot <= last - first; ++slot)
      for (int64_t k = 0; k < count; k += SOME) {
        leap_rows(states(slot) + k, true, used, some, SOME);
        transpose(some, SOME, areas.words + (slot * count + k) * PANEL, PANEL, used, count - k < SOME ? count - k : SOME);
      }
  }

  // A line's words for a column, in the order of the chunk's products.
  uint32_t *line_words(int64_t column, int64_t line) const {
    return areas.words + ((column / g.law.columns - made.first) * lines + line) * word_stride(count);
  }
  // The lanes' words for a column, PANEL per product.
  const uint32_t *lane_words(int64_t column) const {
    return areas.words + (column / g.law.columns - first) * count * PANEL;
  }

 private:
  // Products whose generators leap side by side: a register alone would wait for itself at every leap.
  static constexpr int CHAINS = 4, SOME = CHAINS * L;

  const Gemm &g;
  const Areas areas;
  const int64_t lines;
  const int cut;
  const bool turned;
  int64_t first = 0, last = 0;  // tiles of all columns
  int64_t count = 0, at_tile = 0;
  Span made = {};               // tiles whose words are at hand
  Matrix next_step, next_tile;

  // Words of SOME products from row to row, and, if asked to, the states after them.
  void leap_rows(uint32_t *at, bool keep, int64_t rows, uint32_t *into, int64_t stride) const {
    vu state[CHAINS];
    for (int i = 0; i < CHAINS; ++i) state[i] = load<vu>(at + i * L);
    for (int64_t row = 0; row < rows; ++row)
#pragma GCC unroll 4
      for (int i = 0; i < CHAINS; ++i) {
        store(into + row * stride + i * L, word_of(state[i]));
        state[i] = leap(state[i], g.inner_bits);
      }
    for (int i = 0; keep && i < CHAINS; ++i) store(at + i * L, state[i]);
  }

  uint32_t *states(int64_t slot) const { return areas.at + slot * at_stride(count); }
  void leap_tile(uint32_t *at) const {
    for (int64_t k = 0; k < count; k += L) store_some(at + k, times(next_tile, load<vu>(at + k)), count - k);
  }
  // Where words are turned by one shift they stand twice over, where the cut bits are.
  vu word_of(vu state) const {
    const vu word = state >> (32 - g.inner_bits);
    return turned ? (word | word << g.inner_bits) << (cut - g.inner_bits) : word;
  }
};

// The state of the adders' generators of some columns, before a chunk of a row.
static vu adder_states(const Gemm &g, int64_t batch, int64_t chunk, int64_t column, int64_t row) {
  const Law &law = g.law;
  const Place place = place_of(g, row);
  const int64_t steps = ceil_div(ceil_div(g.k, g.chunk), law.segments), all_tiles = ceil_div(g.n, law.columns);
  const int64_t base = law.sums + batch * law.batch_sums + place.start * all_tiles * steps + place.first + 1;
  vu state;
  for (int lane = 0; lane < L; ++lane)
    state[lane] =
        seed_of(law.seed, uint32_t(0x10000 + (column + lane) % law.columns * law.segments + chunk % law.segments));
  // Lanes of one tile are at the same item; the vector is cut where a tile ends.
  for (int lane = 0; lane < L;) {
    const int64_t tile = (column + lane) / law.columns, left = (tile + 1) * law.columns - column;
    const int end = left < L ? int(left) : L;
    const vu moved = jumped(*g.outer_jumps, state, base + (tile * steps + chunk / law.segments) * place.size);
    for (; lane < end; ++lane) state[lane] = moved[lane];
  }
  return state;
}

// Words of the adders of the chunks' sums: into[line * PANEL + lane of the panel].
class OuterWords {
 public:
  OuterWords(const Gemm &g, int64_t batch, Span lines, Span lanes) : g(g), batch(batch), lines(lines), first_row(lanes.first) {}

  void start_chunk(int64_t index) {
    chunk = index;
    for (int64_t column = 0; g.swapped && column < lines.count; column += L)
      store(at + column, adder_states(g, batch, chunk, lines.first + column, first_row));
  }

  // Of panels in their order.
  void make(Span panel, uint32_t *into) {
    if (g.swapped) {
      uint32_t some[PANEL][L];
      for (int64_t column = 0; column < lines.count; column += L) {
        const int64_t left = lines.count - column;
        store(at + column, leap_rows(load<vu>(at + column), panel.count, some[0], L));
        transpose(some[0], L, into + column * PANEL, PANEL, panel.count, left < L ? left : L);
      }
    } else {
      for (int64_t column = 0; column < panel.count; column += L)
        leap_rows(adder_states(g, batch, chunk, panel.first + column, lines.first), lines.count, into + column, PANEL);
    }
  }

 private:
  const Gemm &g;
  const int64_t batch;
  const Span lines;
  const int64_t first_row;  // swapped: of all panels
  int64_t chunk = 0;
  uint32_t at[MOST_LINES + L];  // swapped: states of the columns, at the next panel's first row

  vu leap_rows(vu state, int64_t rows, uint32_t *into, int64_t stride) const {
    for (int64_t row = 0; row < rows; ++row) {
      store(into + row * stride, state >> (32 - g.outer_bits));
      state = leap(state, g.outer_bits);
    }
    return state;
  }
};
