// 16-byte vectors: every processor that we meet has them. GCC and Clang map the vector extension to them; other
// compilers get loops.
#pragma once

#include <cstdint>
#include <cstring>

namespace megamoe::gemm::generic {

#if defined(__GNUC__)
typedef float F32x4 __attribute__((vector_size(16)));
typedef std::int16_t I16x8 __attribute__((vector_size(16)));

inline I16x8 splat16(std::int16_t v) { return I16x8{v, v, v, v, v, v, v, v}; }
inline F32x4 splat(float v) { return F32x4{v, v, v, v}; }
#else
template <class T, int N>
struct Lanes {
  T v[N];
  Lanes operator*(const Lanes& o) const {
    Lanes r;
    for (int i = 0; i < N; i++) r.v[i] = static_cast<T>(v[i] * o.v[i]);
    return r;
  }
  Lanes operator+(const Lanes& o) const {
    Lanes r;
    for (int i = 0; i < N; i++) r.v[i] = static_cast<T>(v[i] + o.v[i]);
    return r;
  }
  Lanes& operator+=(const Lanes& o) { return *this = *this + o; }
  T operator[](int i) const { return v[i]; }
};
using F32x4 = Lanes<float, 4>;
using I16x8 = Lanes<std::int16_t, 8>;

inline I16x8 splat16(std::int16_t x) {
  I16x8 r;
  for (auto& e : r.v) e = x;
  return r;
}
inline F32x4 splat(float x) {
  F32x4 r;
  for (auto& e : r.v) e = x;
  return r;
}
#endif

template <class V, class T>
inline V loadLanes(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class V, class T>
inline void storeLanes(T* p, const V& v) {
  std::memcpy(p, &v, sizeof v);
}

}  // namespace megamoe::gemm::generic
