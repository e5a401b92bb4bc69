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

#include <cmath>
#include <cstdint>
#include <string>

namespace megamoe {

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

  float* f32(std::size_t i, const char* name, std::int64_t minLength) const {
    return static_cast<float*>(typed(i, name, napi_float32_array, "Float32Array", minLength));
  }
  double* f64(std::size_t i, const char* name, std::int64_t minLength) const {
    return static_cast<double*>(typed(i, name, napi_float64_array, "Float64Array", minLength));
  }
  std::int32_t* i32(std::size_t i, const char* name, std::int64_t minLength) const {
    return static_cast<std::int32_t*>(typed(i, name, napi_int32_array, "Int32Array", minLength));
  }
  std::uint8_t* u8(std::size_t i, const char* name, std::int64_t minLength) const {
    return static_cast<std::uint8_t*>(typed(i, name, napi_uint8_array, "Uint8Array", minLength));
  }
  std::uint16_t* u16(std::size_t i, const char* name, std::int64_t minLength) const {
    return static_cast<std::uint16_t*>(typed(i, name, napi_uint16_array, "Uint16Array", minLength));
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

  // "function: "name"", the start of every message.
  std::string text(const char* name) const { return std::string(function_) + ": \"" + name + "\""; }

 private:
  void* typed(std::size_t i, const char* name, napi_typedarray_type kind, const char* kindName,
              std::int64_t minLength) const {
    napi_typedarray_type type;
    std::size_t length = 0;
    void* data = nullptr;
    if (napi_get_typedarray_info(env(), info_[i], &type, &length, &data, nullptr, nullptr) != napi_ok || type != kind)
      throw Napi::TypeError::New(env(), text(name) + " must be a " + kindName);
    if (static_cast<std::int64_t>(length) < minLength)
      throw Napi::RangeError::New(env(), text(name) + " must hold at least " + std::to_string(minLength) +
                                             " elements, got " + std::to_string(length));
    return data;
  }

  const Napi::CallbackInfo& info_;
  const char* function_;
};

}  // namespace megamoe
