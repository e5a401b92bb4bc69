// Which instructions cost nothing beside vpdpbusd on this processor (x86-64 with AVX-512 VNNI and VBMI). The NVFP4
// kernels are bound by the pipes that multiply: what runs on others is free, what shares those is not. Each line:
// cycles of 8 such instructions alone, and of 8 beside 8 vpdpbusd, whose own 4 cycles (two a cycle) are the unit.
#include <algorithm>
#include <cstdio>
#include <ctime>

namespace {

double ownTime() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Seconds of one round of run(rounds): the shortest of many runs, most of which others disturb.
double fastest(void (*run)(int)) {
  constexpr int kRounds = 20000;
  double best = 1;
  for (int i = 0; i < 41; i++) {
    const double start = ownTime();
    run(kRounds);
    best = std::min(best, (ownTime() - start) / kRounds);
  }
  return best;
}

}  // namespace

#define Z(n) "%%zmm" #n
#define DOT(n) "vpdpbusd %%zmm30, %%zmm31, " Z(n) "\n"
#define MULTIPLY(n) "vmulps %%zmm31, " Z(n) ", " Z(n) "\n"
#define MULTIPLY_HIGH(n) "vpmulhuw %%zmm31, " Z(n) ", " Z(n) "\n"
#define ROTATE(n) "vprold $16, " Z(n) ", " Z(n) "\n"
#define PERMUTE_BYTES(n) "vpermb %%zmm31, " Z(n) ", " Z(n) "\n"
#define PERMUTE_WORDS(n) "vpermw %%zmm31, " Z(n) ", " Z(n) "\n"
#define SHUFFLE_BYTES(n) "vpshufb %%zmm31, " Z(n) ", " Z(n) "\n"
#define COMPARE(n) "vpcmpltuw %%zmm31, " Z(n) ", %%k2\n"
#define ADD(n) "vaddps %%zmm31, " Z(n) ", " Z(n) "\n"
#define CONVERT(n) "vcvtdq2ps " Z(n) ", " Z(n) "\n"
#define ADD_WORDS(n) "vpaddw %%zmm31, " Z(n) ", " Z(n) "\n"
#define AND(n) "vpandd %%zmm31, " Z(n) ", " Z(n) "\n"
#define SHIFT(n) "vpslld $16, " Z(n) ", " Z(n) "\n"
#define BLEND(n) "vmovdqu16 %%zmm31, " Z(n) "%{%%k1%}\n"
#define UNPACK(n) "vpunpcklwd %%zmm31, " Z(n) ", " Z(n) "\n"

#define EIGHT(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#define OTHER_EIGHT(M) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
// Values in the registers do not matter: no instruction here takes longer for some than for others, and those that
// could see subnormal floats begin with zeros.
#define CLEAR(n) "vpxord " Z(n) ", " Z(n) ", " Z(n) "\n"
// clang-format off
#define LOOP(TEXT)                                                                                              \
  [](int rounds) {                                                                                              \
    __asm__ volatile(EIGHT(CLEAR) OTHER_EIGHT(CLEAR) CLEAR(30) CLEAR(31) "1:\n" TEXT "decl %0\njnz 1b\n"        \
                     : "+r"(rounds)                                                                             \
                     :                                                                                          \
                     : "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", \
                       "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm30", "zmm31", "k2", "cc");              \
  }
// clang-format on
#define SHOW(M)                                                                                         \
  std::printf("%-14s alone %5.2f   with 8 vpdpbusd %5.2f\n", #M, fastest(LOOP(OTHER_EIGHT(M))) / cycle, \
              fastest(LOOP(EIGHT(DOT) OTHER_EIGHT(M))) / cycle)

int main() {
  if (!__builtin_cpu_supports("avx512vnni") || !__builtin_cpu_supports("avx512vbmi")) {
    std::printf("this processor has no AVX-512 VNNI and VBMI\n");
    return 1;
  }
  const double cycle = fastest(LOOP(EIGHT(DOT) EIGHT(DOT))) / 8;
  std::printf("16 vpdpbusd in 8 cycles of %.3f ns\n", cycle * 1e9);
  SHOW(MULTIPLY);
  SHOW(MULTIPLY_HIGH);
  SHOW(ROTATE);
  SHOW(PERMUTE_BYTES);
  SHOW(PERMUTE_WORDS);
  SHOW(SHUFFLE_BYTES);
  SHOW(COMPARE);
  SHOW(ADD);
  SHOW(CONVERT);
  SHOW(ADD_WORDS);
  SHOW(AND);
  SHOW(SHIFT);
  SHOW(BLEND);
  SHOW(UNPACK);
}
