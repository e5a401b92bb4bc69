// Packed weights live outside the JavaScript heap, behind an object that frees them when it is collected.
#include <memory>

#include "common.h"

namespace megamoe::gemm {

namespace {

constexpr napi_type_tag kWeightTag = {0x6d6567616d6f6531ULL, 0x67656d6d2d777431ULL};  // "megamoe1", "gemm-wt1"

void freeWeight(napi_env env, void* data, void*) {
  const std::unique_ptr<Weight> weight(static_cast<Weight*>(data));
  std::int64_t total = 0;
  napi_adjust_external_memory(env, -weight->bytes, &total);  // the collector counts it as memory of the heap
}

void require(Napi::Env env, napi_status status, const char* what) {
  if (status != napi_ok) throw Napi::Error::New(env, what);
}

// (format, matrices, n, k), as createWeight and weightBytes take them.
struct Shape {
  explicit Shape(const NapiArgs& args)
      : format(static_cast<Format>(args.integer(0, "format", 0, 3))),
        matrices(args.integer(1, "matrices", 1, kMost)),
        n(args.integer(2, "n", 1, kMost)),
        k(args.integer(3, "k", 1, kMost)) {
    if (format == Format::nvfp4 && k % kBlock != 0)
      throw Napi::RangeError::New(args.env(), args.text("k") + " must be a multiple of 16");
    args.product("size", matrices, n + kPanel, 8 * k);
  }
  static constexpr std::int64_t kMost = 1LL << 40;
  const Format format;
  const std::int64_t matrices, n, k;
};

// weightBytes(format, matrices, n, k): what createWeight would allocate
Napi::Value weightBytes(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "weightBytes", 4);
  const Shape s(args);
  return Napi::Number::New(info.Env(), static_cast<double>(s.matrices * Weight::bytesOfMatrix(s.format, s.n, s.k)));
}

// createWeight(format, matrices, n, k) -> { bytes }
Napi::Value createWeight(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "createWeight", 4);
  const Shape shape(args);
  const auto [format, matrices, n, k] = shape;
  std::unique_ptr<Weight> weight;
  try {
    weight = std::make_unique<Weight>(format, matrices, n, k);
  } catch (const std::bad_alloc&) {
    const std::int64_t bytes = matrices * Weight::bytesOfMatrix(format, n, k);
    throw Napi::Error::New(info.Env(),
                           "createWeight: out of memory: cannot allocate " + std::to_string(bytes) + " bytes");
  }
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("bytes", static_cast<double>(weight->bytes));
  require(info.Env(), napi_type_tag_object(info.Env(), out, &kWeightTag), "createWeight: cannot tag the object");
  require(info.Env(), napi_wrap(info.Env(), out, weight.get(), freeWeight, nullptr, nullptr),
          "createWeight: cannot wrap the memory");
  std::int64_t total = 0;
  napi_adjust_external_memory(info.Env(), weight->bytes, &total);
  weight.release();
  return out;
}

// freeWeight(w): the object is no weight any more.
void freeWeightNow(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "freeWeight", 1);
  Weight& w = weightArgument(args, info, 0, "w");
  void* data = nullptr;
  require(info.Env(), napi_remove_wrap(info.Env(), info[0], &data), "freeWeight: cannot unwrap the memory");
  freeWeight(info.Env(), &w, nullptr);
}

// Checks where rows go: putX(w, matrix, row0, rows, ...).
struct Place {
  Place(const NapiArgs& args, const Weight& w)
      : matrix(args.integer(1, "matrix", 0, w.matrices - 1)),
        row0(args.integer(2, "row0", 0, w.n)),
        rows(args.integer(3, "rows", 0, w.n - row0)) {}
  const std::int64_t matrix, row0, rows;
};

// putDense(w, matrix, row0, rows, data)
void putDenseRows(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "putDense", 5);
  Weight& w = weightArgument(args, info, 0, "w");
  requireDense(args, w, true);
  if (w.format == Format::fp8) throw Napi::TypeError::New(info.Env(), args.text("w") + " has the wrong format");
  const Place at(args, w);
  const std::int64_t size = at.rows * w.k;
  const void* data =
      w.format == Format::f32 ? static_cast<const void*>(args.f32(4, "data", size)) : args.u16(4, "data", size);
  if (size > 0) putDense(w, at.matrix, at.row0, at.rows, data);
}

// putFp8(w, matrix, row0, rows, codes, scales, threads)
void putFp8Rows(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "putFp8", 7);
  Weight& w = weightArgument(args, info, 0, "w");
  if (w.format != Format::fp8) throw Napi::TypeError::New(info.Env(), args.text("w") + " has the wrong format");
  const Place at(args, w);
  const std::uint8_t* codes = args.u8(4, "codes", at.rows * w.k);
  const float* scales = args.f32(5, "scales", at.rows * ((w.k + kFp8Tile - 1) / kFp8Tile));
  const int threads = threadsArgument(args, 6);
  putFp8(w, at.matrix, at.row0, at.rows, codes, scales, threads);
}

// putNvfp4(w, matrix, row0, rows, codes, sf, threads)
void putNvfp4Rows(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "putNvfp4", 7);
  Weight& w = weightArgument(args, info, 0, "w");
  requireDense(args, w, false);
  const Place at(args, w);
  const std::uint8_t* codes = args.u8(4, "codes", at.rows * w.k / 2);
  const std::uint8_t* sf = args.u8(5, "sf", at.rows * w.k / kBlock);
  const int threads = threadsArgument(args, 6);
  putNvfp4(w, at.matrix, at.row0, at.rows, codes, sf, threads);
}

}  // namespace

Weight& weightArgument(const NapiArgs& args, const Napi::CallbackInfo& info, std::size_t i, const char* name) {
  bool tagged = false;
  void* data = nullptr;
  if (!info[i].IsObject() || napi_check_object_type_tag(info.Env(), info[i], &kWeightTag, &tagged) != napi_ok ||
      !tagged || napi_unwrap(info.Env(), info[i], &data) != napi_ok)
    throw Napi::TypeError::New(info.Env(), args.text(name) + " must come from createWeight");
  return *static_cast<Weight*>(data);
}

void exportWeights(Napi::Object exports) {
  exportFunction<createWeight>(exports, "createWeight");
  exportFunction<freeWeightNow>(exports, "freeWeight");
  exportFunction<weightBytes>(exports, "weightBytes");
  exportFunction<putDenseRows>(exports, "putDense");
  exportFunction<putFp8Rows>(exports, "putFp8");
  exportFunction<putNvfp4Rows>(exports, "putNvfp4");
}

}  // namespace megamoe::gemm
