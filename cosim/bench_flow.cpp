// Bench: GEMMs through the array's streams, none of which ever waits, as fast as the model can be evaluated.
//
// It does what `bench_streams.py` does where nothing disturbs the streams, without any Python in a cycle.  Requests come
// on standard input and are answered on standard output; numbers are 64-bit integers of the machine's byte order.
//
//   request  reset, sums, keep; frames up to an empty one
//   frame    weights, activations, times; the beats of both, all of it to be offered `times` times
//   answer   cycles; the beats of sums, where they are to be kept
//
// Arguments: bytes of a beat of weights, of activations and of sums, cycles to wait for beats that should not come.

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <utility>
#include <vector>

#include "Vtop.h"

namespace {

constexpr int64_t kTimeout = 1000;  // cycles without any transfer, beyond those to wait, after which the array hangs

[[noreturn]] void fail(const char* format, ...) {
  va_list values;
  va_start(values, format);
  vfprintf(stderr, format, values);
  va_end(values);
  fputc('\n', stderr);
  exit(1);
}

void read(void* to, size_t bytes) {
  if (fread(to, 1, bytes, stdin) != bytes) fail("a request is cut off");
}

// Offers the beats of its frames, one per cycle.
class Source {
 public:
  explicit Source(size_t bytes) : bytes_(bytes) {}

  void load(int64_t beats, int64_t times) {
    std::vector<uint8_t> content(beats * bytes_);
    read(content.data(), content.size());
    if (beats && times) frames_.emplace_back(std::move(content), times);
  }

  bool empty() const { return frames_.empty(); }

  template <class Port>
  void offer(CData& valid, Port& payload) const {
    valid = !empty();
    if (valid) memcpy(&payload, frames_.front().first.data() + at_, bytes_);
  }

  void accepted() {
    auto& [content, times] = frames_.front();
    at_ += bytes_;
    if (at_ < content.size()) return;
    at_ = 0;
    if (--times == 0) frames_.pop_front();
  }

 private:
  size_t bytes_, at_ = 0;
  std::deque<std::pair<std::vector<uint8_t>, int64_t>> frames_;
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) fail("four numbers are expected");
  Source weights(atoll(arguments[1])), activations(atoll(arguments[2]));
  const size_t sum_bytes = atoll(arguments[3]);
  const int64_t afterwards = atoll(arguments[4]);
  std::vector<uint8_t> sums;
  Vtop top;  // Verilator writes a second underscore in a port's name as ___05F

  auto edge = [&top] {
    top.clk = 1;
    top.eval();
    top.clk = 0;
  };

  int64_t request[3];
  for (int64_t gemm = 0; fread(request, sizeof request, 1, stdin) == 1; ++gemm) {
    const auto [reset, expected, keep] = request;
    top.clk = 0;
    if (reset) {
      for (top.rst = 1; int _ : {0, 1}) top.eval(), edge();
      top.rst = 0;
      top.eval();
      if (top.sums___05Fvalid) fail("reset leaves a beat of sums");
    }
    sums.clear();
    bool more = true;
    int64_t first = -1, last = 0, quiet = 0, arrived = 0;
    // Behind the last beat the bench waits on for beats that should not come.
    for (int64_t cycle = 0; arrived < expected || quiet < afterwards; ++cycle) {
      while (more && (weights.empty() || activations.empty())) {
        int64_t frame[3];
        read(frame, sizeof frame);
        more = frame[0] || frame[1];
        weights.load(frame[0], frame[2]);
        activations.load(frame[1], frame[2]);
      }
      weights.offer(top.weights___05Fvalid, top.weights___05Fpayload);
      activations.offer(top.activations___05Fvalid, top.activations___05Fpayload);
      top.sums___05Fready = 1;
      top.eval();
      const bool takes_weights = top.weights___05Fvalid && top.weights___05Fready;
      const bool takes_activations = top.activations___05Fvalid && top.activations___05Fready;
      const bool gives = top.sums___05Fvalid;
      if (gives) {
        const auto* beat = reinterpret_cast<const uint8_t*>(&top.sums___05Fpayload);
        if (keep) sums.insert(sums.end(), beat, beat + sum_bytes);
        ++arrived;
        last = cycle;
      }
      edge();
      if (takes_weights) weights.accepted();
      if (takes_activations) activations.accepted();
      if (first < 0 && (takes_weights || takes_activations)) first = cycle;
      quiet = takes_weights || takes_activations || gives ? 0 : quiet + 1;
      if (quiet >= kTimeout + afterwards) {
        fail("GEMM %ld hangs with %ld beats of sums to come", long(gemm), long(expected - arrived));
      }
    }
    if (arrived > expected) fail("GEMM %ld gave %ld beats of sums too many", long(gemm), long(arrived - expected));
    if (more || !weights.empty() || !activations.empty()) fail("GEMM %ld left beats behind", long(gemm));
    const int64_t cycles = last - first + 1;
    fwrite(&cycles, sizeof cycles, 1, stdout);
    fwrite(sums.data(), 1, sums.size(), stdout);
    fflush(stdout);
  }
  top.final();
}
