// The Python module quaver.golden._engine: plain numbers and buffers in, codes out.  engine.py is its only caller and
// checks everything; here only the sizes of buffers are taken on trust.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <new>
#include <string_view>

#include "engine.h"

namespace {

using namespace quaver;

struct Buffer : Py_buffer {
  Buffer() : Py_buffer() {}
  ~Buffer() {
    if (obj) PyBuffer_Release(this);
  }
  template <class T>
  T *as() const {
    return static_cast<T *>(buf);
  }
};

const Kernels *kernels_named(const char *name) {
  const Kernels *best = &best_kernels();
  const std::string_view wanted(name);
  if (wanted == best->name) return best;
#if defined(__x86_64__)
  if (wanted == "avx2" && best == &avx512_kernels()) return &avx2_kernels();
#endif
  if (wanted == "baseline") return &baseline_kernels();
  PyErr_Format(PyExc_ValueError, "this machine cannot run the kernels for %s", name);
  return nullptr;
}

#define ROUND "(iiiiiiiddddd)"
#define CODE "(iiiiiiIIIIId)"
#define OPERAND "(y*iLLLiiiiiiiIIIId)"

template <class Call>
PyObject *finished(const Call &call) {
  bool good = false, memory = true;
  Py_BEGIN_ALLOW_THREADS;
  try {
    good = call();
  } catch (const std::bad_alloc &) {
    memory = false;
  }
  Py_END_ALLOW_THREADS;
  if (!memory) return PyErr_NoMemory();
  return PyBool_FromLong(good);
}

#define ROUND_FIELDS(r)                                                                                             \
  &(r).mode, &(r).mantissa, &(r).bits, &(r).fast, &(r).low, &(r).high, &(r).parity, &(r).emin_value,                \
      &(r).min_positive, &(r).max_finite, &(r).over_finite, &(r).over_inf
#define CODE_FIELDS(c)                                                                                              \
  &(c).mantissa, &(c).bias, &(c).gradual, &(c).negative_zero, &(c).nan_sign, &(c).is_signed, &(c).sign_mask,        \
      &(c).nan_code, &(c).inf_code, &(c).below, &(c).below_inf, &(c).emin_value

#define OPERAND_FIELDS(o)                                                                                           \
  &(o).bytes, &(o).batch, &(o).line, &(o).step, &(o).mantissa, &(o).bias, &(o).gradual, &(o).plain,                   \
      &(o).negative_zero, &(o).has_inf, &(o).nan_at_sign, &(o).sign_mask, &(o).magnitude_mask, &(o).least_normal,       \
      &(o).max_code, &(o).emin_value

PyObject *gemm(PyObject *, PyObject *args) {
  Gemm g = {};
  Buffer a, b, c, out, a_scales, b_scales, inner_words, outer_words;
  int threads;
  const char *name;
  if (!PyArg_ParseTuple(args,
                        "si(LLLLL)" OPERAND OPERAND "z*(w*i)(ii" ROUND ROUND CODE "iiii)(iii)i(z*z*)(z*iz*i)(LLLLILLLL)",
                        &name, &threads, &g.batch, &g.m, &g.k, &g.n, &g.chunk, &a, OPERAND_FIELDS(g.lines), &b,
                        OPERAND_FIELDS(g.lanes), &c, &out, &g.out_bytes, &g.inner, &g.outer_narrow,
                        ROUND_FIELDS(g.inner_round), ROUND_FIELDS(g.outer_round), CODE_FIELDS(g.code),
                        &g.inner_negative_zero, &g.inner_has_inf, &g.inner_has_nan, &g.outer_has_nan, &g.windows,
                        &g.window_bits, &g.window_base, &g.fraction_bits, &a_scales, &b_scales, &inner_words,
                        &g.inner_bits, &outer_words, &g.outer_bits, &g.law.rows, &g.law.columns, &g.law.segments,
                        &g.law.depth, &g.law.seed, &g.law.beats, &g.law.sums, &g.law.batch_beats, &g.law.batch_sums))
    return nullptr;
  const Kernels *kernels = kernels_named(name);
  if (!kernels) return nullptr;
  g.lines.codes = a.buf;
  g.lines.size = a.len / g.lines.bytes;
  g.lanes.codes = b.buf;
  g.lanes.size = b.len / g.lanes.bytes;
  g.c = c.as<const double>();
  g.out = out.buf;
  g.a_scales = a_scales.as<const double>();
  g.b_scales = b_scales.as<const double>();
  g.inner_words = inner_words.as<const uint32_t>();
  g.outer_words = outer_words.as<const uint32_t>();
  return finished([&] { return run(g, *kernels, threads); });
}

PyObject *cast(PyObject *, PyObject *args) {
  Cast c = {};
  Buffer values, out, words, seeds;
  int threads;
  const char *name;
  if (!PyArg_ParseTuple(args, "siL(y*i)(w*i)i" ROUND CODE "(IIIIi)(z*iz*LL)", &name, &threads, &c.count, &values,
                        &c.value_bytes, &out, &c.out_bytes, &c.narrow, ROUND_FIELDS(c.round), CODE_FIELDS(c.code),
                        &c.max_code, &c.min_code, &c.over_code, &c.inf_code, &c.has_nan, &words, &c.word_bits, &seeds,
                        &c.lanes, &c.issued))
    return nullptr;
  const Kernels *kernels = kernels_named(name);
  if (!kernels) return nullptr;
  c.values = values.buf;
  c.out = out.buf;
  c.words = words.as<const uint32_t>();
  c.seeds = seeds.as<const uint32_t>();
  return finished([&] { return run(c, *kernels, threads); });
}

PyObject *magnitudes(PyObject *, PyObject *args) {
  Buffer codes;
  int bytes;
  unsigned mask;
  const char *name;
  if (!PyArg_ParseTuple(args, "sy*iI", &name, &codes, &bytes, &mask)) return nullptr;
  const Kernels *kernels = kernels_named(name);
  if (!kernels) return nullptr;
  Magnitudes found;
  Py_BEGIN_ALLOW_THREADS;
  found = kernels->magnitudes(codes.buf, bytes, codes.len / bytes, mask);
  Py_END_ALLOW_THREADS;
  return Py_BuildValue("(II)", found.least, found.largest);
}

PyObject *best(PyObject *, PyObject *) { return PyUnicode_FromString(best_kernels().name); }

PyMethodDef METHODS[] = {
    {"gemm", gemm, METH_VARARGS, "Run a GEMM; False if a NaN met a format without one."},
    {"cast", cast, METH_VARARGS, "Cast floats to codes; False if a NaN met a format without one."},
    {"magnitudes", magnitudes, METH_VARARGS, "The least magnitude of codes but zero, and the largest."},
    {"best", best, METH_NOARGS, "Name of the best kernels that this machine can run."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_engine", "Compiled twin of the golden definition.", 0, METHODS,
                      nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__engine() {
  PyObject *module = PyModule_Create(&MODULE);
  if (module && PyModule_AddStringConstant(module, "SOURCES", SOURCES)) Py_CLEAR(module);
  return module;
}
