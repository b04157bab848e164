// Some lines times some lanes: chunk by chunk and panel by panel, inner sums first, then the outer ones.
// Included once per instruction set, inside its namespace.

typedef double Row[PANEL];
typedef float NarrowRow[PANEL];

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
  int64_t whole;                // lines, rounded up to groups
  char *codes, *lines, *lanes;  // of a chunk; or results
  double *line_powers, *lane_powers;
  Row *y, *scale, *sums;        // y: `whole` per panel
  NarrowRow *narrow_y, *narrow;
  RowWords::Areas words;
  uint32_t *outer_words, *given;
  uintptr_t end;

  Areas(const Gemm &g, int64_t line_count, int64_t lane_count, Scratch s) : whole(ceil_div(line_count, ROWS) * ROWS) {
    const int64_t count = g.chunk < g.k ? g.chunk : g.k, panels = ceil_div(lane_count, PANEL);
    const int64_t line_values = whole * count + SPAN, lane_values = PANEL * count + SPAN, bytes = g.inner == NARROW ? 4 : 8;
    const int64_t more = line_values > lane_values ? line_values : lane_values, results = 2 * whole * PANEL;
    codes = s.take<char>(2 * (more > results ? more : results));
    lines = s.take<char>(line_values * bytes);
    lanes = s.take<char>(lane_values * bytes);
    line_powers = s.take<double>(g.inner == ALIGNED ? line_values : 0);
    lane_powers = s.take<double>(g.inner == ALIGNED ? lane_values : 0);
    y = s.take<Row>(g.outer_narrow ? 0 : panels * whole);
    scale = s.take<Row>(g.outer_narrow ? 0 : whole);
    sums = s.take<Row>(g.inner == EXACT ? int64_t(ROWS) * g.windows : g.inner == WIDE ? whole : 0);
    narrow_y = s.take<NarrowRow>(g.outer_narrow ? panels * whole : 0);
    narrow = s.take<NarrowRow>(g.inner == NARROW ? whole : 0);
    const bool made = g.makes_inner_words();
    words.base = s.take<uint32_t>(made ? RowWords::base_count(g) : 0);
    words.at = s.take<uint32_t>(made ? RowWords::most_tiles(g, line_count) * RowWords::at_stride(count) : 0);
    words.words = s.take<uint32_t>(made ? RowWords::word_count(g, count, line_count) : 0);
    outer_words = s.take<uint32_t>(g.outer_bits ? whole * PANEL : 0);
    given = s.take<uint32_t>(words_of(g) == GIVEN ? count * ROWS * PANEL : 0);
    end = s.at;
  }
};

static int64_t scratch_bytes(const Gemm &g, int64_t lines, int64_t lanes) {
  return int64_t(Areas(g, lines, lanes, Scratch{0}).end) + 64;
}

INLINE bool any(vl mask) {
  int64_t together = 0;
  for (int i = 0; i < D; ++i) together |= mask[i];
  return together != 0;
}

// A finished inner sum as what joins the outer one (mac.chunk_addend).
template <class V>
INLINE V joining(V s, V nan_value, V negative_zero, const Gemm &g) {
  if (!g.inner_has_inf) s = infinite(s) ? nan_value : s;
  if (!g.inner_negative_zero) s = s == 0 ? negative_zero : s;
  return s;
}

class Task {
 public:
  Task(const Gemm &g, int64_t batch, Span lines, Span lanes, void *scratch)
      : g(g), batch(batch), lines(lines), lanes(lanes),
        areas(g, lines.count, lanes.count, Scratch{reinterpret_cast<uintptr_t>(scratch)}), kind(words_of(g)),
        words(g, batch, lines, lanes, areas.words), outer_words(g, batch, lines, lanes), cut(23 - g.inner_round.mantissa),
        edges(edges_of(g.inner_round, g.inner_negative_zero)) {}

  bool run() {
    const Arithmetic nearest(false);
    const int64_t panels = ceil_div(lanes.count, PANEL);
    for (int64_t p = 0; p < panels; ++p) {
      start_panel(p);
      start_sums();
    }
    for (int64_t line = 0; !g.outer_narrow && line < areas.whole; ++line)
      for (double &scale : areas.scale[line]) scale = 1.0;
    for (chunk.start = 0; chunk.start < g.k; chunk.start += chunk.count) {
      start_chunk();
      for (int64_t p = 0; p < panels; ++p) {
        start_panel(p);
        start_products();
        sum_panel();
        if (g.outer_narrow) {
          join_narrow();
          continue;
        }
        if (g.inner <= WIDE) join_chunk();
        round_sums();
      }
    }
    for (int64_t p = 0; p < panels; ++p) {
      start_panel(p);
      if (g.out_bytes == 1) encode_panel<uint8_t>();
      if (g.out_bytes == 2) encode_panel<uint16_t>();
      if (g.out_bytes == 4) encode_panel<uint32_t>();
    }
    return !any(nan);
  }

 private:
  const Gemm &g;
  const int64_t batch;
  const Span lines, lanes;
  const Areas areas;
  const Words kind;
  RowWords words;
  OuterWords outer_words;
  const int cut, edges;
  Chunk chunk = {};
  Span panel = {};  // its lanes
  Row *y = nullptr;  // its outer sums
  NarrowRow *narrow_y = nullptr;
  vl nan = {};

  // Of a result, or what else there is one of for each: a line, and a lane of the panel.
  int64_t element(int64_t line, int64_t lane) const {
    return batch * g.m * g.n + (lines.first + line) * g.line_stride() + (panel.first + lane) * g.lane_stride();
  }

  void start_panel(int64_t p) {
    const int64_t left = lanes.count - p * PANEL;
    panel = {lanes.first + p * PANEL, left < PANEL ? left : PANEL};
    y = areas.y + p * areas.whole;
    narrow_y = areas.narrow_y + p * areas.whole;
  }

  void start_sums() {
    if (g.outer_narrow) {
      __builtin_memset(narrow_y, 0, areas.whole * sizeof(NarrowRow));
    } else {
      __builtin_memset(y, 0, areas.whole * sizeof(Row));
    }
    for (int64_t line = 0; g.c && line < lines.count; ++line)
      for (int lane = 0; lane < panel.count; ++lane) {
        const double c = g.c[element(line, lane)];
        if (g.outer_narrow) {
          narrow_y[line][lane] = float(c);
        } else {
          y[line][lane] = c;
        }
      }
  }

  void start_chunk() {
    chunk.count = g.k - chunk.start < g.chunk ? g.k - chunk.start : g.chunk;
    chunk.words = areas.given;
    load_operand(g.lines, [this](auto *codes, auto *values) {
      load_lines(g.lines, batch, lines, areas.whole, products(), codes, values);
    }, areas.lines);
    if (g.inner == ALIGNED)
      powers(reinterpret_cast<double *>(areas.lines), areas.whole * chunk.count, g.lines.emin_value, areas.line_powers);
    if (g.makes_inner_words()) words.start_chunk(chunk.start, chunk.count);
    if (g.makes_outer_words()) outer_words.start_chunk(chunk.start / g.chunk);
  }

  Span products() const { return {chunk.start, chunk.count}; }

  template <class Call>
  void load_operand(const Operand &o, const Call &call, char *into) const {
    uint8_t *const bytes = reinterpret_cast<uint8_t *>(areas.codes);
    uint16_t *const pairs = reinterpret_cast<uint16_t *>(areas.codes);
    if (g.inner == NARROW) {
      float *const values = reinterpret_cast<float *>(into);
      o.bytes == 1 ? call(bytes, values) : call(pairs, values);
    } else {
      double *const values = reinterpret_cast<double *>(into);
      o.bytes == 1 ? call(bytes, values) : call(pairs, values);
    }
  }

  void start_products() {
    load_operand(g.lanes, [this](auto *codes, auto *values) {
      load_lanes<PANEL>(g.lanes, batch, panel, products(), codes, values);
    }, areas.lanes);
    chunk.lanes = areas.lanes;
    chunk.lane_powers = areas.lane_powers;
    if (g.inner == ALIGNED)
      powers(reinterpret_cast<double *>(areas.lanes), PANEL * chunk.count, g.lanes.emin_value, areas.lane_powers);
    if (g.makes_inner_words()) g.swapped ? words.make_rows(panel.count) : words.make_tiles(panel.first, panel.count);
    const int64_t index = chunk.start / g.chunk, chunks = ceil_div(g.k, g.chunk);
    if (g.makes_outer_words()) outer_words.make(panel, areas.outer_words);
    for (int64_t line = 0; line < lines.count; ++line) {
      uint32_t *const to = areas.outer_words + line * PANEL;
      for (int64_t lane = 0; g.outer_words && lane < PANEL; ++lane)
        to[lane] = lane < panel.count ? g.outer_words[index * g.batch * g.m * g.n + element(line, lane)] : 0;
      for (int64_t lane = 0; g.a_scales && lane < panel.count; ++lane) {
        const int64_t m = g.swapped ? panel.first + lane : lines.first + line;
        const int64_t n = g.swapped ? lines.first + line : panel.first + lane;
        areas.scale[line][lane] = g.a_scales[(batch * g.m + m) * chunks + index] * g.b_scales[(batch * chunks + index) * g.n + n];
      }
    }
    if (kind != SHARED) return;
    for (int j = 0; j < 2; ++j)
      for (int lane = 0; lane < L; ++lane) {
        const int64_t at = (panel.first + j * L + lane) % g.law.columns;
        chunk.turns[j][lane] = g.inner_bits - turn_of(at, g.inner_bits);
        chunk.masks[j][lane] = mask_of(at, g.inner_bits) << (cut - g.inner_bits);
      }
  }

  void sum_panel() {
    const Arithmetic arithmetic(g.inner == NARROW && g.inner_round.truncates());
    const int64_t value_bytes = g.inner == NARROW ? sizeof(float) : sizeof(double);
    for (int64_t group = 0, some; group < lines.count; group += some) {
      const int64_t left = lines.count - group;
      some = left >= ROWS - 1 ? ROWS : left >= 5 ? 6 : left >= 3 ? 4 : 2;
      chunk.group = left < some ? left : some;
      chunk.lines = areas.lines + group * chunk.count * value_bytes;
      chunk.line_powers = areas.line_powers + group * chunk.count;
      start_words(group);
      switch (g.inner) {
        case NARROW: {
          const auto run = some == ROWS ? run_narrow<ROWS> : some == 6 ? run_narrow<6> : some == 4 ? run_narrow<4> : run_narrow<2>;
          run(chunk, g.inner_round, edges, kind, areas.narrow + group);
          break;
        }
        case WIDE: run_wide(chunk, g.inner_round, areas.sums + group); break;
        case EXACT: sum_exactly(group); break;
        default: aligned_chunk(chunk, g, y + group, areas.scale + group);
      }
    }
  }

  // The words of a group of lines, or where they are.
  void start_words(int64_t group) {
    if (kind == GIVEN) give_words(group);
    for (int64_t i = 0; i < ROWS; ++i) {
      const int64_t line = group + i < lines.count ? group + i : lines.count - 1;
      if (kind == SHARED)
        for (int j = 0; j < 2; ++j)
          chunk.line_words[i][j] = words.line_words(j * L < panel.count ? panel.first + j * L : panel.first, line);
      if (kind == LANED) {
        const int64_t column = lines.first + line, at = column % g.law.columns;
        chunk.lane_words[i] = words.lane_words(column);
        chunk.turn[i] = g.inner_bits - turn_of(at, g.inner_bits);
        chunk.mask[i] = mask_of(at, g.inner_bits) << (cut - g.inner_bits);
      }
    }
  }

  // One by one, as the kernels want them that share none.
  void give_words(int64_t group) {
    const uint32_t all = (1u << g.inner_bits) - 1;
    for (int64_t i = 0; i < chunk.group; ++i)
      for (int64_t lane = 0; lane < PANEL; ++lane) {
        uint32_t *const to = areas.given + i * PANEL + lane;
        const int64_t at = lane < panel.count ? lane : panel.count - 1;
        if (g.inner_words) {
          const int64_t each = g.batch * g.m * g.n;
          const uint32_t *const from = g.inner_words + chunk.start * each + element(group + i, at);
          for (int64_t k = 0; k < chunk.count; ++k) to[k * ROWS * PANEL] = from[k * each];
        } else {
          const int64_t column = (panel.first + at) % g.law.columns;
          const uint32_t turn = turn_of(column, g.inner_bits), mask = mask_of(column, g.inner_bits);
          const uint32_t *const from = words.line_words(panel.first + at, group + i);
          for (int64_t k = 0; k < chunk.count; ++k)
            to[k * ROWS * PANEL] = (((from[k] << turn) | (from[k] >> (uint32_t(g.inner_bits) - turn))) & all) ^ mask;
        }
      }
  }

  void sum_exactly(int64_t group) {
    double(*sums)[ROWS][PANEL] = reinterpret_cast<double(*)[ROWS][PANEL]>(areas.sums);
    exact_chunk(chunk, g, sums);
    for (int64_t i = 0; i < chunk.group; ++i)
      for (int j = 0; j < PANEL; j += D) {
        double *to = y[group + i] + j;
        store(to, add_windows(load<vd>(to), load<vd>(areas.scale[group + i] + j), sums, g.windows, int(i), j));
      }
  }

  void join_chunk() {
    for (int64_t line = 0; line < lines.count; ++line)
      for (int j = 0; j < PANEL; j += D) {
        vd s;
        if (g.inner == NARROW) {
          s = __builtin_convertvector(load<hf>(areas.narrow[line] + j), vd);
        } else {
          s = load<vd>(areas.sums[line] + j);
        }
        s = joining(s, splat(__builtin_nan("")), negative_zero(), g);
        if (!g.inner_has_nan) nan |= s != s;
        store(y[line] + j, add_odd(load<vd>(y[line] + j), s * load<vd>(areas.scale[line] + j)));
      }
  }

  void round_sums() {
    for (int64_t line = 0; line < lines.count; ++line)
      for (int j = 0; j < PANEL; j += D) {
        vq word = {};
        if (g.outer_bits) word = __builtin_convertvector(load<hu>(areas.outer_words + line * PANEL + j), vq);
        store(y[line] + j, rounded(load<vd>(y[line] + j), word, g.outer_round));
      }
  }

  void join_narrow() {
    const Arithmetic arithmetic(g.outer_round.truncates());
    g.outer_round.low == GRADUAL ? join_narrow<GRADES | ENDS>() : join_narrow<CUTS | ENDS>();
  }

  template <int EDGES>
  void join_narrow() {
    switch (g.outer_round.mode) {
      case ODD: return join_narrow<ODD, EDGES>();
      case NATIVE: return join_narrow<NATIVE, INSIDE>();
      case RHA: return join_narrow<RHA, EDGES>();
      case RTZ: return join_narrow<RTZ, EDGES>();
      default: return join_narrow<SR, EDGES>();
    }
  }

  template <int MODE, int EDGES>
  __attribute__((noinline)) void join_narrow() {
    const Narrow n(g.outer_round);
    const int place = n.cut - g.outer_round.bits;
    vi met = {};
    for (int64_t line = 0; line < lines.count; ++line)
      for (int j = 0; j < PANEL; j += L) {
        const vf s = joining(load<vf>(areas.narrow[line] + j), vf{} + __builtin_nanf(""), (vf)(vu{} + SIGN32), g);
        if (!g.inner_has_nan) met |= s != s;
        vu word = {};
        if (MODE == SR) word = load<vu>(areas.outer_words + line * PANEL + j) << place;
        store(narrow_y[line] + j, added<MODE, EDGES>(load<vf>(narrow_y[line] + j), s, word, n));
      }
    nan |= (vl)met;
  }

  template <class T>
  void encode_panel() {
    T(*const codes)[PANEL] = reinterpret_cast<T(*)[PANEL]>(areas.codes);
    g.outer_narrow ? encode_lines<float>(narrow_y, codes) : encode_lines<double>(y, codes);
    T *const to = static_cast<T *>(g.out) + element(0, 0);
    if (g.swapped) return transpose(codes[0], PANEL, to, g.n, lines.count, panel.count);
    for (int64_t line = 0; line < lines.count; ++line)
      __builtin_memcpy(to + line * g.n, codes[line], panel.count * sizeof(T));
  }

  template <class F, class T>
  void encode_lines(const F (*values)[PANEL], T (*codes)[PANEL]) {
    using V = Lanes<F>;
    typedef T narrow __attribute__((vector_size(V::COUNT * sizeof(T))));
    for (int64_t line = 0; line < lines.count; ++line)
      for (int j = 0; j < PANEL; j += V::COUNT) {
        const auto v = load<typename V::value>(values[line] + j);
        if (!g.outer_has_nan) nan |= (vl)(v != v);
        const auto code = encoded<F>(v, (typename V::bits)v & (typename V::word(1) << (V::WIDTH - 1)), g.code);
        store(codes[line] + j, __builtin_convertvector(code, narrow));
      }
  }
};

static bool multiply(const Gemm &g, int64_t batch, Span lines, Span lanes, void *scratch) {
  return Task(g, batch, lines, lanes, scratch).run();
}
