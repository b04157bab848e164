// What the sums within one chunk need, for a few lines and one panel of lanes.  Included once per instruction set.

constexpr int ROWS = VECTOR_BYTES == 64 ? 8 : 6;  // lines that share a load of the lanes, as there are registers for
constexpr int PANEL = 2 * L;    // lanes of a panel
constexpr int WINDOWS = 40;     // registers of an exact sum: enough for bfloat16 products in chunks of 2^20

// Where the words come from: from an array; from a line's word for a product, each lane turning it by itself; or from the
// lanes' words, turned by the line.
enum Words { NONE, GIVEN, SHARED, LANED };

static Words words_of(const Gemm &g) {
  if (!g.inner_bits) return NONE;
  if (!g.turns_words()) return GIVEN;
  return g.swapped ? LANED : g.law.columns % L == 0 ? SHARED : GIVEN;
}

// What one chunk needs, wherever the words come from.
struct Chunk {
  int64_t start, count;  // first product, and how many
  int64_t group;        // lines: 1 to ROWS
  const void *lines;    // values, line by line, float in the NARROW kind and double in the others
  const void *lanes;    // values of the panel, PANEL per product
  const double *line_powers, *lane_powers;  // ALIGNED
  const uint32_t *words;                    // GIVEN: ROWS x PANEL per product
  const uint32_t *line_words[ROWS][2];      // SHARED: per product, for each vector of the panel
  vu turns[2], masks[2];                    // shifts to the right and then flips
  const uint32_t *lane_words[ROWS];         // LANED: PANEL per product
  uint32_t turn[ROWS], mask[ROWS];
};
