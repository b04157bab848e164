// The words of a block of rows, made by the law of an array (array_words.py).  Included once per instruction set.

// Where a block of rows lies in the loop nest.
struct Place {
  int64_t start, size;  // first row and rows of its m_block
  int64_t first;        // the block's first row within it
};

static Place place_of(const Gemm &g, int64_t first_row) {
  int64_t start = first_row / g.law.depth * g.law.depth;
  return {start, g.law.depth < g.m - start ? g.law.depth : g.m - start, first_row - start};
}

// Words from one row of A to the next: no power of two, or the rows would compete for the same lines of the cache.
INLINE int64_t word_stride(const Gemm &g) { return g.k + 24; }

// Words of the rows' generators: into[(tile * rows + m) * word_stride(g) + k] for tiles first_tile .. first_tile + tiles - 1.
static void make_row_words(const Gemm &g, const Matrix &stride, int64_t batch, int64_t first_row, int64_t rows,
                           int64_t first_tile, int64_t tiles, uint32_t *into) {
  const Law &law = g.law;
  const Place place = place_of(g, first_row);
  const int64_t steps = ceil_div(g.k, law.rows), all_tiles = ceil_div(g.n, law.columns);
  const int shift = 32 - g.inner_bits;
  const int64_t item = law.beats + batch * law.batch_beats + place.start * all_tiles * steps +
                       first_tile * steps * place.size + place.first;
  for (int64_t row = 0; row < law.rows && row < g.k; row += L) {
    vu seeds;
    for (int lane = 0; lane < L; ++lane) seeds[lane] = seed_of(law.seed, uint32_t(row + lane));
    vu at = jumped(*g.inner_jumps, seeds, item + 1);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      for (int64_t step = 0; step < steps; ++step) {
        const int64_t k = step * law.rows + row;
        int64_t lanes = law.rows - row < g.k - k ? law.rows - row : g.k - k;
        lanes = lanes < L ? lanes : L;
        vu state = at;
        for (int64_t m = 0; m < rows; ++m) {
          uint32_t *to = into + (tile * rows + m) * word_stride(g) + k;
          const vu word = state >> shift;
          if (lanes == L) {
            store(to, word);
          } else {
            for (int lane = 0; lane < lanes; ++lane) to[lane] = word[lane];
          }
          state = leap(state, g.inner_bits);
        }
        at = times(stride, at);
      }
    }
  }
}

// Words of the outer adders of one panel's columns: into[(chunk * rows + m) * PANEL + column].
static void make_outer_words(const Gemm &g, int64_t batch, int64_t first_row, int64_t rows,
                             int64_t first_column, uint32_t *into) {
  const Law &law = g.law;
  const Place place = place_of(g, first_row);
  const int64_t chunks = ceil_div(g.k, g.chunk), steps = ceil_div(chunks, law.segments);
  const int64_t all_tiles = ceil_div(g.n, law.columns);
  const int shift = 32 - g.outer_bits;
  const int64_t base = law.sums + batch * law.batch_sums + place.start * all_tiles * steps + place.first;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (int vector = 0; vector < PANEL; vector += L) {
      const int64_t column = first_column + vector;
      vu state;
      for (int lane = 0; lane < L; ++lane)
        state[lane] = seed_of(law.seed, uint32_t(0x10000 + (column + lane) % law.columns * law.segments + chunk % law.segments));
      // Lanes of one tile are at the same item; the vector is cut where a tile ends.
      for (int lane = 0; lane < L;) {
        const int64_t tile = (column + lane) / law.columns;
        const int64_t left = (tile + 1) * law.columns - column;
        const int end = left < L ? int(left) : L;
        const vu moved = jumped(*g.outer_jumps, state, base + (tile * steps + chunk / law.segments) * place.size + 1);
        for (; lane < end; ++lane) state[lane] = moved[lane];
      }
      for (int64_t m = 0; m < rows; ++m) {
        store(into + (chunk * rows + m) * PANEL + vector, state >> shift);
        state = leap(state, g.outer_bits);
      }
    }
  }
}

// How a column turns left and flips its row's word.
INLINE uint32_t turn_of(int64_t column, int bits) { return uint32_t(column % bits); }
INLINE uint32_t mask_of(int64_t column, int bits) { return (uint32_t(column) * 0x9E3779B1u) >> (32 - bits); }
