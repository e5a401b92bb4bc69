// Arguments of a native function: each accessor checks kind and size and throws a JavaScript TypeError or RangeError
// that names the function and the argument. Pointers are good until the function returns.
//
// Built with C++ exceptions on both sides (NODE_ADDON_API_CPP_EXCEPTIONS_ALL): node-addon-api turns whatever leaves the
// callback, a Napi::Error or any std::exception, into a JavaScript exception, so that none crosses into Node.
#pragma once

#ifndef NODE_ADDON_API_CPP_EXCEPTIONS_ALL
#error "MegamoeAddon.cmake defines NODE_ADDON_API_CPP_EXCEPTIONS_ALL: no exception may leave the addon"
#endif

#include <napi.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

namespace megamoe {

// What a function does with an array.
enum class Access { reads, writes };

// In the place of the least length of an array: all of it counts, however long it is.
constexpr std::int64_t kWhole = -1;

class NapiArgs {
 public:
  // Throws unless exactly `count` arguments came.
  NapiArgs(const Napi::CallbackInfo& info, const char* function, std::size_t count) : info_(info), function_(function) {
    if (info.Length() != count)
      throw Napi::TypeError::New(info.Env(), std::string(function) + ": expected " + std::to_string(count) +
                                                 " arguments, got " + std::to_string(info.Length()));
  }

  Napi::Env env() const { return info_.Env(); }
  const char* function() const { return function_; }

  // An integer in [min, max]; the largest that a double carries exactly is 2^53 - 1.
  std::int64_t integer(std::size_t i, const char* name, std::int64_t min, std::int64_t max = (1LL << 53) - 1) const {
    const double v = number(i, name);
    // Compared as doubles first: converting a NaN or a huge double to an integer would be undefined.
    if (!(v >= static_cast<double>(min) && v <= static_cast<double>(max)) || v != std::floor(v))
      throw Napi::RangeError::New(env(), text(name) + " must be an integer in [" + std::to_string(min) + ", " +
                                             std::to_string(max) + "], got " + std::to_string(v));
    return static_cast<std::int64_t>(v);
  }

  double number(std::size_t i, const char* name) const {
    double v = 0;
    if (napi_get_value_double(env(), info_[i], &v) != napi_ok)
      throw Napi::TypeError::New(env(), text(name) + " must be a number");
    return v;
  }

  bool boolean(std::size_t i, const char* name) const {
    bool v = false;
    if (napi_get_value_bool(env(), info_[i], &v) != napi_ok)
      throw Napi::TypeError::New(env(), text(name) + " must be a boolean");
    return v;
  }

  // Typed arrays. The first minLength elements count: kernels touch no others. 32-bit integers that are read are
  // indices: they must lie in memory of this thread alone, for they may not change after their check.
  float* f32(std::size_t i, const char* name, std::int64_t minLength, Access access = Access::reads) const {
    return static_cast<float*>(typed(i, name, {napi_float32_array, "Float32Array", sizeof(float)}, minLength, access));
  }
  double* f64(std::size_t i, const char* name, std::int64_t minLength, Access access = Access::reads) const {
    return static_cast<double*>(
        typed(i, name, {napi_float64_array, "Float64Array", sizeof(double)}, minLength, access));
  }
  std::int32_t* i32(std::size_t i, const char* name, std::int64_t minLength, Access access = Access::reads) const {
    return static_cast<std::int32_t*>(
        typed(i, name, {napi_int32_array, "Int32Array", sizeof(std::int32_t)}, minLength, access));
  }
  std::uint8_t* u8(std::size_t i, const char* name, std::int64_t minLength, Access access = Access::reads) const {
    return static_cast<std::uint8_t*>(
        typed(i, name, {napi_uint8_array, "Uint8Array", sizeof(std::uint8_t)}, minLength, access));
  }
  std::uint16_t* u16(std::size_t i, const char* name, std::int64_t minLength, Access access = Access::reads) const {
    return static_cast<std::uint16_t*>(
        typed(i, name, {napi_uint16_array, "Uint16Array", sizeof(std::uint16_t)}, minLength, access));
  }

  // The same, where null (and only null) is allowed and gives nullptr.
  float* f32OrNull(std::size_t i, const char* name, std::int64_t minLength) const {
    return isNull(i) ? nullptr : f32(i, name, minLength);
  }
  std::int32_t* i32OrNull(std::size_t i, const char* name, std::int64_t minLength) const {
    return isNull(i) ? nullptr : i32(i, name, minLength);
  }

  // Elements of the typed array at `i`; throws when it is none.
  std::int64_t length(std::size_t i, const char* name) const {
    std::size_t n = 0;
    napi_typedarray_type type;
    if (napi_get_typedarray_info(env(), info_[i], &type, &n, nullptr, nullptr, nullptr) != napi_ok)
      throw Napi::TypeError::New(env(), text(name) + " must be a typed array");
    return static_cast<std::int64_t>(n);
  }

  // Argument i as it came.
  napi_value value(std::size_t i) const { return info_[i]; }

  bool isNull(std::size_t i) const {
    napi_valuetype type = napi_undefined;
    return napi_typeof(env(), info_[i], &type) == napi_ok && type == napi_null;
  }

  // a * b * c for sizes that came from JavaScript; throws when the product is not below 2^53.
  std::int64_t product(const char* name, std::int64_t a, std::int64_t b, std::int64_t c = 1) const {
    const double p = static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
    if (!(p >= 0 && p < 9007199254740992.0)) throw Napi::RangeError::New(env(), text(name) + " is too large");
    return a * b * c;
  }

  // Throws when an array that is written shares memory with any other that was taken so far. The array called inPlace
  // may be the very memory that is written.
  void requireApart(const char* inPlace = nullptr) const {
    for (std::size_t i = 0; i < taken_; i++) {
      for (std::size_t j = i + 1; j < taken_; j++) {
        const Span &a = spans_[i], &b = spans_[j];
        if (!(a.isWritten || b.isWritten) || std::max(a.begin, b.begin) >= std::min(a.end, b.end)) continue;
        const Span &out = b.isWritten ? b : a, &other = b.isWritten ? a : b;
        if (inPlace != nullptr && a.begin == b.begin && std::strcmp(other.name, inPlace) == 0) continue;
        throw Napi::RangeError::New(env(), text(out.name) + " must not overlap \"" + other.name + "\"");
      }
    }
  }

  // "function: "name"", the start of every message.
  std::string text(const char* name) const { return std::string(function_) + ": \"" + name + "\""; }

 private:
  struct Kind {
    napi_typedarray_type type;
    const char* name;
    std::size_t bytes;
  };
  struct Span {
    const char* name;
    const char *begin, *end;
    bool isWritten;
  };
  static constexpr std::size_t kMostArrays = 24;

  void* typed(std::size_t i, const char* name, const Kind& kind, std::int64_t minLength, Access access) const {
    napi_typedarray_type type;
    std::size_t length = 0;
    void* data = nullptr;
    napi_value buffer = nullptr;
    if (napi_get_typedarray_info(env(), info_[i], &type, &length, &data, &buffer, nullptr) != napi_ok ||
        type != kind.type)
      throw Napi::TypeError::New(env(), text(name) + " must be a " + kind.name);
    if (static_cast<std::int64_t>(length) < minLength)
      throw Napi::RangeError::New(env(), text(name) + " must hold at least " + std::to_string(minLength) +
                                             " elements, got " + std::to_string(length));
    bool isOwn = true;
    if (type == napi_int32_array && access == Access::reads &&
        (napi_is_arraybuffer(env(), buffer, &isOwn) != napi_ok || !isOwn))
      throw Napi::TypeError::New(env(), text(name) + " must not lie in a SharedArrayBuffer");
    if (taken_ == kMostArrays) throw Napi::Error::New(env(), std::string(function_) + ": too many arrays");
    const char* const begin = static_cast<const char*>(data);
    const std::size_t used = minLength == kWhole ? length : static_cast<std::size_t>(minLength);
    spans_[taken_++] = {name, begin, begin + used * kind.bytes, access == Access::writes};
    return data;
  }

  const Napi::CallbackInfo& info_;
  const char* function_;
  mutable Span spans_[kMostArrays];
  mutable std::size_t taken_ = 0;
};

}  // namespace megamoe
