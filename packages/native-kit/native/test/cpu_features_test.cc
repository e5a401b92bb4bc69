#include <megamoe/cpu_features.h>
#include <megamoe/test.h>

#include <algorithm>

int main() {
  const megamoe::CpuFeatures& f = megamoe::cpuFeatures();
  const auto names = megamoe::cpuFeatureNames();
  CHECK(names == megamoe::cpuFeatureNames());
  CHECK(f.avx2 == (std::count(names.begin(), names.end(), "avx2") == 1));
  CHECK(!(f.avx512vnni || f.avx512vbmi || f.avx512bf16 || f.avx512bw) || f.avx512f);
  CHECK(megamoe::cpuFeatureNames(megamoe::CpuFeatures{}).empty());
  CHECK(!f.dotprod || f.neon);
#if defined(MEGAMOE_ARM64)
  CHECK(f.neon && !f.avx2);
  CHECK(names.front() == "neon");
#else
  CHECK(!f.neon);
#endif
  megamoe::CpuFeatures all;
  for (const megamoe::NamedFeature& feature : megamoe::namedFeatures()) all.*feature.has = true;
  CHECK(megamoe::cpuFeatureNames(megamoe::withoutFeatures(all, nullptr)) == megamoe::cpuFeatureNames(all));
  CHECK(megamoe::cpuFeatureNames(megamoe::withoutFeatures(all, "avx512,avx,AVX2")) == megamoe::cpuFeatureNames(all));
  const megamoe::CpuFeatures less = megamoe::withoutFeatures(all, "avx512bf16,fma");
  CHECK(!less.fma && !less.avx512bf16 && less.avx2 && less.avx512vbmi);
  CHECK(megamoe::cpuFeatureNames(less).size() + 2 == megamoe::cpuFeatureNames(all).size());
#if defined(MEGAMOE_X86) && defined(__GNUC__)
  // The compiler's run-time library does its own detection.
  __builtin_cpu_init();
  CHECK(f.avx2 == bool(__builtin_cpu_supports("avx2")));
  CHECK(f.fma == bool(__builtin_cpu_supports("fma")));
  CHECK(f.avx512f == bool(__builtin_cpu_supports("avx512f")));
  CHECK(f.avx512bw == bool(__builtin_cpu_supports("avx512bw")));
  CHECK(f.avx512vl == bool(__builtin_cpu_supports("avx512vl")));
  CHECK(f.avx512vnni == bool(__builtin_cpu_supports("avx512vnni")));
  CHECK(f.avx512vbmi == bool(__builtin_cpu_supports("avx512vbmi")));
#endif
  return megamoe::test::finish();
}
