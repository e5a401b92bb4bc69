// What this processor and its operating system can run. Compile the file that includes this without any -m flag:
// detection must not itself need what it looks for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
#define MEGAMOE_X86 1
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(__aarch64__) || defined(_M_ARM64)
#define MEGAMOE_ARM64 1
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#endif

namespace megamoe {

// True for what may be used: the processor has it and the operating system saves its registers.
struct CpuFeatures {
  bool avx2 = false, fma = false, f16c = false;
  bool avx512f = false, avx512bw = false, avx512vl = false, avx512dq = false;
  bool avx512vnni = false, avx512vbmi = false, avx512bf16 = false;
  // ASIMD, which every 64-bit Arm processor has, and its products of bytes (FEAT_DotProd).
  bool neon = false, dotprod = false;
};

namespace detail {

#if defined(MEGAMOE_X86)
struct CpuidWords {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
};

inline CpuidWords cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  CpuidWords w;
#if defined(_MSC_VER) && !defined(__clang__)
  int r[4];
  __cpuidex(r, static_cast<int>(leaf), static_cast<int>(subleaf));
  w.a = r[0], w.b = r[1], w.c = r[2], w.d = r[3];
#else
  __cpuid_count(leaf, subleaf, w.a, w.b, w.c, w.d);
#endif
  return w;
}

// Which register files the operating system saves (XCR0). Only valid when cpuid reports OSXSAVE.
inline std::uint64_t xcr0() {
#if defined(_MSC_VER) && !defined(__clang__)
  return _xgetbv(0);
#else
  std::uint32_t lo = 0, hi = 0;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (static_cast<std::uint64_t>(hi) << 32) | lo;
#endif
}

inline CpuFeatures detectCpu() {
  CpuFeatures f;
  const std::uint32_t maxLeaf = cpuid(0, 0).a;
  if (maxLeaf < 7) return f;
  const CpuidWords one = cpuid(1, 0);
  const bool osxsave = (one.c >> 27) & 1;
  const std::uint64_t saved = osxsave ? xcr0() : 0;
  const bool ymm = (saved & 0x06) == 0x06;         // XMM and YMM
  const bool zmm = ymm && (saved & 0xe0) == 0xe0;  // opmask, upper ZMM, ZMM16-31
  const CpuidWords seven = cpuid(7, 0);
  const CpuidWords seven1 = seven.a >= 1 ? cpuid(7, 1) : CpuidWords{};
  const bool avx = ymm && ((one.c >> 28) & 1);
  f.avx2 = avx && ((seven.b >> 5) & 1);
  f.fma = avx && ((one.c >> 12) & 1);
  f.f16c = avx && ((one.c >> 29) & 1);
  f.avx512f = avx && zmm && ((seven.b >> 16) & 1);
  f.avx512dq = f.avx512f && ((seven.b >> 17) & 1);
  f.avx512bw = f.avx512f && ((seven.b >> 30) & 1);
  f.avx512vl = f.avx512f && ((seven.b >> 31) & 1);
  f.avx512vbmi = f.avx512f && ((seven.c >> 1) & 1);
  f.avx512vnni = f.avx512f && ((seven.c >> 11) & 1);
  f.avx512bf16 = f.avx512f && ((seven1.a >> 5) & 1);
  return f;
}
#elif defined(MEGAMOE_ARM64)
inline CpuFeatures detectCpu() {
  CpuFeatures f;
  f.neon = true;
#if defined(__linux__)
  constexpr unsigned long kDotprod = 1ul << 20;  // HWCAP_ASIMDDP
  f.dotprod = (getauxval(AT_HWCAP) & kDotprod) != 0;
#elif defined(__APPLE__)
  int has = 0;
  std::size_t size = sizeof has;
  f.dotprod = sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has != 0;
#endif
  return f;
}
#else
inline CpuFeatures detectCpu() { return {}; }
#endif

}  // namespace detail

// Every feature by the name that reports and MEGAMOE_CPU_WITHOUT use.
struct NamedFeature {
  using Member = bool CpuFeatures::*;
  const char* name;
  Member has;
};

inline const std::vector<NamedFeature>& namedFeatures() {
  static const std::vector<NamedFeature> features = {
      {"avx2", &CpuFeatures::avx2},
      {"fma", &CpuFeatures::fma},
      {"f16c", &CpuFeatures::f16c},
      {"avx512f", &CpuFeatures::avx512f},
      {"avx512dq", &CpuFeatures::avx512dq},
      {"avx512bw", &CpuFeatures::avx512bw},
      {"avx512vl", &CpuFeatures::avx512vl},
      {"avx512vnni", &CpuFeatures::avx512vnni},
      {"avx512vbmi", &CpuFeatures::avx512vbmi},
      {"avx512bf16", &CpuFeatures::avx512bf16},
      {"neon", &CpuFeatures::neon},
      {"dotprod", &CpuFeatures::dotprod},
  };
  return features;
}

// What is left of `f` without the features named in a list with commas; null is an empty list, unknown names count for
// nothing.
inline CpuFeatures withoutFeatures(CpuFeatures f, const char* list) {
  const std::string names = list == nullptr ? "" : "," + std::string(list) + ",";
  for (const NamedFeature& feature : namedFeatures())
    if (names.find("," + std::string(feature.name) + ",") != std::string::npos) f.*feature.has = false;
  return f;
}

// Detected once per process; processors other than x86 and 64-bit Arm report nothing.
// MEGAMOE_CPU_WITHOUT=avx512vbmi,... in the environment hides features, to see what runs on a lesser machine.
inline const CpuFeatures& cpuFeatures() {
  static const CpuFeatures features = withoutFeatures(detail::detectCpu(), std::getenv("MEGAMOE_CPU_WITHOUT"));
  return features;
}

// The names of what was found, for reports.
inline std::vector<std::string> cpuFeatureNames(const CpuFeatures& f = cpuFeatures()) {
  std::vector<std::string> names;
  for (const NamedFeature& feature : namedFeatures())
    if (f.*feature.has) names.emplace_back(feature.name);
  return names;
}

}  // namespace megamoe
