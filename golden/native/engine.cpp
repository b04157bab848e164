// How the work is split over threads.

#include "engine.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

namespace quaver {

const Kernels &best_kernels() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return avx512_kernels();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2_kernels();
#endif
  return baseline_kernels();
}

namespace {

constexpr int64_t ROWS = 8;  // that a kernel takes at a time, at most
constexpr int64_t BLOCK_ROWS = 64;
constexpr int64_t SHARES = 8;                         // of the rows, per thread: none waits long for the last one
constexpr int64_t WORDS_BYTES = int64_t(1) << 19;     // of a task's row words: they are read from the cache
constexpr int64_t OUTER_BYTES = int64_t(16) << 20;    // of a panel's words of the outer sums
constexpr int64_t PACKED_BYTES = int64_t(256) << 20;  // of the operands B that are unpacked at a time
constexpr int64_t SMALL = 1 << 18;                    // products, or elements, that are not worth a thread

// Memory on a cache line's boundary.  What was used last is kept: the system would hand out new pages one fault at a time.
class Memory {
 public:
  explicit Memory(int64_t bytes) {
    const size_t wanted = size_t(bytes) + 64;
    {
      const std::lock_guard<std::mutex> guard(lock);
      for (size_t i = 0; i < kept.size() && !area.data; ++i)
        if (kept[i].bytes >= wanted) {
          area = std::move(kept[i]);
          kept.erase(kept.begin() + std::ptrdiff_t(i));
        }
    }
    if (!area.data) area = {std::unique_ptr<char[]>(new char[wanted]), wanted};
  }
  ~Memory() {
    const std::lock_guard<std::mutex> guard(lock);
    if (area.bytes <= KEPT_BYTES && kept.size() < KEPT) kept.push_back(std::move(area));
  }
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;

  void *data() {
    const uintptr_t at = reinterpret_cast<uintptr_t>(area.data.get());
    return reinterpret_cast<void *>((at + 63) / 64 * 64);
  }

 private:
  struct Area {
    std::unique_ptr<char[]> data;
    size_t bytes = 0;
  };
  static constexpr size_t KEPT = 8, KEPT_BYTES = size_t(8) << 20;
  static inline std::mutex lock;
  static inline std::vector<Area> kept;
  Area area;
};

// Tasks that may be done in any order, at once.
struct Phase {
  int64_t tasks;
  std::function<bool(int64_t task, void *scratch)> work;
};

// Do one phase after the other, each thread with scratch memory of its own.  True if all work is.
bool parallel(const std::vector<Phase> &phases, int threads, int64_t scratch_bytes) {
  struct Progress {
    std::atomic<int64_t> next{0}, done{0};
  };
  std::vector<Progress> progress(phases.size());
  std::atomic<bool> good{true};
  int64_t most = 1;
  for (const Phase &phase : phases) most = std::max(most, phase.tasks);
  auto run = [&](void *scratch) {
    for (size_t i = 0; i < phases.size(); ++i) {
      for (int64_t task; (task = progress[i].next++) < phases[i].tasks; ++progress[i].done)
        if (!phases[i].work(task, scratch)) good = false;
      while (progress[i].done < phases[i].tasks) std::this_thread::yield();
    }
  };
  // All memory is had before any thread starts: it is here that there may be too little.
  std::vector<std::unique_ptr<Memory>> memory;
  for (int64_t i = 0; i < std::min<int64_t>(threads, most); ++i) memory.push_back(std::make_unique<Memory>(scratch_bytes));
  std::vector<std::thread> others;
  try {
    for (size_t i = 1; i < memory.size(); ++i) others.emplace_back(run, memory[i]->data());
  } catch (const std::system_error &) {  // no more threads are to be had: the others do it all
  }
  run(memory[0]->data());
  for (auto &other : others) other.join();
  return good;
}

struct Block {
  int64_t first, rows;
};

// Blocks of rows, none of which crosses an m_block of the law.
std::vector<Block> row_blocks(const Gemm &g, int64_t panel, int threads) {
  const bool law = (g.inner_bits && !g.inner_words) || (g.outer_bits && !g.outer_words);
  int64_t size = BLOCK_ROWS;
  if (g.inner_bits && !g.inner_words) {
    const int64_t row_bytes = 4 * g.k * ceil_div(panel, g.law.columns);
    size = std::clamp<int64_t>(WORDS_BYTES / std::max<int64_t>(row_bytes, 1), ROWS, BLOCK_ROWS);
  }
  if (g.outer_bits) {
    const int64_t row_bytes = 4 * ceil_div(g.k, g.chunk) * panel;
    size = std::clamp<int64_t>(OUTER_BYTES / std::max<int64_t>(row_bytes, 1), ROWS, size);
  }
  const int64_t share = ceil_div(g.m * g.batch, threads > 1 ? SHARES * threads : 1);
  size = std::clamp<int64_t>(ceil_div(share, ROWS) * ROWS, ROWS, size);
  const int64_t depth = law ? std::min(g.law.depth, g.m) : g.m;
  std::vector<Block> blocks;
  for (int64_t start = 0; start < g.m; start += depth)
    for (int64_t first = start; first < std::min(start + depth, g.m); first += size)
      blocks.push_back({first, std::min({size, start + depth - first, g.m - first})});
  return blocks;
}

// Of generators whose words have `bits` bits, 0 for none.
std::optional<Jumps> jumps_of(int bits) { return bits ? std::optional<Jumps>(bits) : std::nullopt; }

}  // namespace

bool run(const Gemm &asked, const Kernels &kernels, int threads) {
  Gemm g = asked;
  const std::optional<Jumps> inner = jumps_of(g.inner_words ? 0 : g.inner_bits);
  const std::optional<Jumps> outer = jumps_of(g.outer_words ? 0 : g.outer_bits);
  g.inner_jumps = inner ? &*inner : nullptr;
  g.outer_jumps = outer ? &*outer : nullptr;
  if (g.batch * g.m * g.n * g.k < SMALL) threads = 1;
  const int64_t panels = ceil_div(g.n, kernels.panel);
  const std::vector<Block> blocks = row_blocks(g, kernels.panel, threads);
  const int64_t columns = g.inner == NARROW ? 1 : g.inner == ALIGNED ? 4 : 2;  // in units of four bytes
  const int64_t packed_bytes = panels * kernels.panel * g.k * columns * 4;
  const int64_t distinct = g.b_stride ? g.batch : 1;
  const int64_t together = std::clamp<int64_t>(PACKED_BYTES / std::max<int64_t>(packed_bytes, 1), 1, distinct);
  Memory packed(packed_bytes * together);
  char *const into = static_cast<char *>(packed.data());

  // Few rows: the panels are shared out too.
  const int64_t wanted = threads > 1 ? 2 * threads : 1, have = int64_t(blocks.size()) * (g.b_stride ? together : g.batch);
  const int64_t parts = std::clamp<int64_t>(ceil_div(wanted, std::max<int64_t>(have, 1)), 1, panels);
  const int64_t part_panels = ceil_div(panels, parts);
  int64_t most_rows = 1;
  for (const Block &block : blocks) most_rows = std::max(most_rows, block.rows);
  const int64_t scratch = kernels.scratch_bytes(g, most_rows);

  std::vector<Phase> phases;
  for (int64_t first = 0; first < distinct; first += together) {
    const int64_t some = std::min(together, distinct - first);
    phases.push_back({some * panels, [=, &g, &kernels](int64_t task, void *) {
      const int64_t b = task / panels, panel = task % panels;
      kernels.pack(g, first + b, panel, into + b * packed_bytes + panel * (packed_bytes / panels));
      return true;
    }});
    const int64_t batches = g.b_stride ? some : g.batch, per_batch = int64_t(blocks.size()) * parts;
    phases.push_back({batches * per_batch, [=, &g, &kernels, &blocks](int64_t task, void *memory) {
      const int64_t b = task / per_batch, part = task % parts;
      const Block &block = blocks[size_t(task % per_batch / parts)];
      const int64_t from = part * part_panels, count = std::min(part_panels, panels - from);
      return count <= 0 || kernels.multiply(g, first + b, block.first, block.rows, from, count,
                                            into + (g.b_stride ? b * packed_bytes : 0), memory);
    }});
  }
  return parallel(phases, threads, scratch);
}

bool run(const Cast &asked, const Kernels &kernels, int threads) {
  Cast c = asked;
  const std::optional<Jumps> jumps = jumps_of(c.seeds ? c.word_bits : 0);
  c.jumps = jumps ? &*jumps : nullptr;
  // Each thread gets a few pieces, of whole rows of lanes.
  const int64_t piece = ceil_div(std::max(ceil_div(c.count, 4 * threads), SMALL), c.lanes) * c.lanes;
  const auto cast = [&](int64_t task, void *memory) {
    const int64_t first = task * piece;
    return kernels.cast(c, first, std::min(piece, c.count - first), memory);
  };
  return parallel({{ceil_div(c.count, piece), cast}}, threads, kernels.cast_scratch_bytes(c));
}

}  // namespace quaver
