// All kernels for one instruction set: VECTOR_BYTES, ISA and KERNELS say which.  Nothing from the standard library is
// instantiated below: the linker would be free to take this file's copy for every machine.

#include <cfenv>
#include <cstdint>

#include "spec.h"

namespace quaver {
namespace ISA {

// While it lives, floating-point arithmetic has gradual underflow and rounds to nearest, or truncates.
class Arithmetic {
 public:
#if defined(__x86_64__)
  explicit Arithmetic(bool truncates) : before(__builtin_ia32_stmxcsr()) {
    __builtin_ia32_ldmxcsr(0x1F80 | (truncates ? 0x6000 : 0));
  }
  ~Arithmetic() { __builtin_ia32_ldmxcsr(before); }

 private:
  unsigned before;
#else
  explicit Arithmetic(bool truncates) {
    std::fegetenv(&before);
    std::fesetenv(FE_DFL_ENV);
    if (truncates) std::fesetround(FE_TOWARDZERO);
  }
  ~Arithmetic() { std::fesetenv(&before); }

 private:
  std::fenv_t before;
#endif
};

#include "vectors.h"
#include "rounding.h"
#include "codes.h"
#include "lfsr.h"
#include "chunk.h"
#include "narrow.h"
#include "inner.h"
#include "words.h"
#include "kernels.h"
#include "cast.h"

}  // namespace ISA

const Kernels &KERNELS() {
  static const Kernels kernels = {
      ISA_NAME,        ISA::PANEL, ISA::ROWS,
      ISA::multiply,   ISA::scratch_bytes,
      ISA::magnitudes, ISA::cast,  ISA::cast_scratch_bytes,
  };
  return kernels;
}

}  // namespace quaver
