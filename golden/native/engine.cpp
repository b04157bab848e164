// How the work is split over threads.

#include "engine.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
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

constexpr int64_t BLOCK_LANES = 2048;                    // of a task, at most
constexpr int64_t BLOCK_RESULTS = 1 << 15, BLOCK_CODES = 1 << 17;  // that stay in the cache
constexpr int64_t SHARES = 8;                            // tasks per thread: none waits long for the last one
constexpr int64_t SMALL = 1 << 18;                       // products, or elements, that are not worth a thread

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

// Do tasks that may be done in any order, at once, each thread with scratch memory of its own.  True if all work is.
bool parallel(int64_t tasks, const std::function<bool(int64_t task, void *scratch)> &work, int threads, int64_t scratch_bytes) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> good{true};
  auto run = [&](void *scratch) {
    for (int64_t task; (task = next++) < tasks;)
      if (!work(task, scratch)) good = false;
  };
  // All memory is had before any thread starts: it is here that there may be too little.
  std::vector<std::unique_ptr<Memory>> memory;
  for (int64_t i = 0; i < std::clamp<int64_t>(threads, 1, std::max<int64_t>(tasks, 1)); ++i)
    memory.push_back(std::make_unique<Memory>(scratch_bytes));
  std::vector<std::thread> others;
  try {
    for (size_t i = 1; i < memory.size(); ++i) others.emplace_back(run, memory[i]->data());
  } catch (const std::system_error &) {  // no more threads are to be had: the others do it all
  }
  run(memory[0]->data());
  for (auto &other : others) other.join();
  return good;
}

int64_t rounded_up(int64_t count, int64_t unit) { return ceil_div(count, unit) * unit; }

// The transposed product, y^T = B^T A^T, whose sums are the same: rows of A fill the vectors then.
Gemm swapped(Gemm g) {
  std::swap(g.lines, g.lanes);
  g.swapped = 1;
  return g;
}

// With the operands in the order that leaves fewer lanes idle.
Gemm oriented(const Gemm &g, const Kernels &kernels) {
  if (g.makes_inner_words() && !g.turns_words()) return g;
  const auto cost = [&](int64_t lines, int64_t lanes) { return rounded_up(lines, 2) * rounded_up(lanes, kernels.panel); };
  return 5 * cost(g.n, g.m) < 4 * cost(g.m, g.n) ? swapped(g) : g;
}

// Spans of at most `size`, none of which crosses a multiple of `border`.
std::vector<Span> spans(int64_t count, int64_t size, int64_t border) {
  std::vector<Span> all;
  for (int64_t start = 0; start < count; start += border)
    for (int64_t first = start, end = std::min(start + border, count); first < end; first += size)
      all.push_back({first, std::min(size, end - first)});
  return all;
}

// Of generators whose words have `bits` bits, made once; null for none.
const Jumps *jumps_of(int bits) {
  static std::array<std::once_flag, 33> made;
  static std::array<std::unique_ptr<const Jumps>, 33> jumps;
  if (!bits) return nullptr;
  std::call_once(made[size_t(bits)], [bits] { jumps[size_t(bits)] = std::make_unique<const Jumps>(bits); });
  return jumps[size_t(bits)].get();
}

}  // namespace

bool run(const Gemm &asked, const Kernels &kernels, int threads) {
  Gemm g = oriented(asked, kernels);
  g.inner_jumps = jumps_of(g.inner_words ? 0 : g.inner_bits);
  g.outer_jumps = jumps_of(g.outer_words ? 0 : g.outer_bits);
  if (g.batch * g.m * g.n * g.k < SMALL) threads = 1;
  const int64_t line_count = g.line_count(), lane_count = g.lane_count(), rows = kernels.rows, panel = kernels.panel;
  int64_t some_lines = std::min(MOST_LINES / rows * rows, rounded_up(line_count, rows));
  int64_t some_lanes = std::min({BLOCK_LANES, rounded_up(lane_count, panel), BLOCK_RESULTS / some_lines / panel * panel,
                                 std::max<int64_t>(8, BLOCK_CODES / g.k / panel) * panel});
  const auto tasks = [&] { return g.batch * ceil_div(line_count, some_lines) * ceil_div(lane_count, some_lanes); };
  while (threads > 1 && tasks() < SHARES * threads && some_lines * some_lanes * g.k > SMALL / 4) {
    if (some_lanes > panel && some_lanes >= some_lines) {
      some_lanes = rounded_up(some_lanes / 2, panel);
    } else if (some_lines > rows) {
      some_lines = rounded_up(some_lines / 2, rows);
    } else if (some_lines > 2 && tasks() < threads) {
      some_lines = rounded_up(some_lines / 2, 2);
    } else {
      break;
    }
  }
  const bool law = g.makes_inner_words() || g.makes_outer_words();
  const int64_t depth = law ? std::min(g.law.depth, g.m) : g.m;
  const std::vector<Span> lines = spans(line_count, some_lines, g.swapped ? line_count : depth);
  const std::vector<Span> lanes = spans(lane_count, some_lanes, g.swapped ? depth : lane_count);
  const int64_t each = int64_t(lines.size()), per_batch = each * int64_t(lanes.size());
  const auto multiply = [&](int64_t task, void *memory) {
    return kernels.multiply(g, task / per_batch, lines[size_t(task % each)], lanes[size_t(task % per_batch / each)], memory);
  };
  return parallel(g.batch * per_batch, multiply, threads, kernels.scratch_bytes(g, some_lines, some_lanes));
}

bool run(const Cast &asked, const Kernels &kernels, int threads) {
  Cast c = asked;
  c.jumps = jumps_of(c.seeds ? c.word_bits : 0);
  // Each thread gets a few pieces, of whole rows of lanes.
  const int64_t piece = ceil_div(std::max(ceil_div(c.count, 4 * threads), SMALL), c.lanes) * c.lanes;
  const auto cast = [&](int64_t task, void *memory) {
    const int64_t first = task * piece;
    return kernels.cast(c, first, std::min(piece, c.count - first), memory);
  };
  return parallel(ceil_div(c.count, piece), cast, threads, kernels.cast_scratch_bytes(c));
}

}  // namespace quaver
