// Compiled without instruction-set flags: it decides what may run.
#include "ceilings.h"

#include <megamoe/cpu_features.h>
#include <megamoe/thread_pool.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <mutex>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace megamoe::ceilings {

namespace {

constexpr std::int64_t kHugePage = 2 << 20;
constexpr std::align_val_t kAlignment{kHugePage};

// One block, grown when a larger span is asked for. Every float in it is 0.747, so that max never meets a NaN or a slow
// number.
class Arena {
 public:
  std::uint8_t* atLeast(std::int64_t bytes) {
    if (bytes <= size_) return data_;
    if (data_ != nullptr) ::operator delete(data_, kAlignment);
    data_ = nullptr;
    size_ = 0;
    const std::int64_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    auto* fresh = static_cast<std::uint8_t*>(::operator new(static_cast<std::size_t>(rounded), kAlignment));
#if defined(__linux__)
    // The limit is what the memory gives, not what the page walk takes.
    madvise(fresh, static_cast<std::size_t>(rounded), MADV_HUGEPAGE);
#endif
    std::memset(fresh, 0x3f, static_cast<std::size_t>(rounded));
    data_ = fresh;
    size_ = rounded;
    return data_;
  }

 private:
  std::uint8_t* data_ = nullptr;
  std::int64_t size_ = 0;
};

volatile double sink;  // results go here, so that no pass is optimized away

const Peak& peakOf(const Passes& p, Kind kind) {
  return kind == Kind::vpdpbusd ? p.vpdpbusd : kind == Kind::vdpbf16ps ? p.vdpbf16ps : p.fma;
}

double secondsOf(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double measurePeak(Kind kind, int threads, std::int64_t amount) {
  const Peak* peak = nullptr;
  for (const Passes* p : availablePasses())
    if (peak == nullptr && peakOf(*p, kind).run != nullptr) peak = &peakOf(*p, kind);
  if (peak == nullptr) return -1;
  const auto rounds = static_cast<std::int64_t>(static_cast<double>(amount) / (peak->operationsPerRound * threads)) + 1;
  const double seconds = secondsOf([&] {
    parallelFor(threads, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; i++) sink = peak->run(rounds);
    });
  });
  return peak->operationsPerRound * static_cast<double>(rounds) * threads / seconds;
}

// fn(offset, bytes) over the pieces of the next `amount` bytes of a span, each piece shared out to the threads.
template <class F>
void walk(std::int64_t* cursor, std::int64_t amount, std::int64_t span, int threads, F&& fn) {
  if (*cursor >= span) *cursor = 0;
  for (std::int64_t left = amount; left > 0;) {
    const std::int64_t piece = left < span - *cursor ? left : span - *cursor;
    const std::int64_t at = *cursor;
    parallelFor(piece / kGrain, threads,
                [&](std::int64_t begin, std::int64_t end) { fn(at + begin * kGrain, (end - begin) * kGrain); });
    left -= piece;
    *cursor = at + piece == span ? 0 : at + piece;
  }
}

double measureMemory(Kind kind, int threads, std::int64_t amount, std::int64_t span) {
  static Arena* const arena = new Arena();  // leaked on purpose: nothing to order at exit
  static std::int64_t cursor = 0;
  const Passes& passes = *availablePasses().front();
  const std::int64_t bytes = (amount + kGrain - 1) / kGrain * kGrain;
  const std::int64_t rounded = (span + 2 * kGrain - 1) / (2 * kGrain) * (2 * kGrain);
  std::uint8_t* const block = arena->atLeast(rounded);
  const double seconds = secondsOf([&] {
    if (kind == Kind::copy) {
      const std::int64_t half = rounded / 2;  // from the first half to the second
      walk(&cursor, bytes, half, threads, [&](std::int64_t at, std::int64_t n) {
        std::memcpy(block + half + at, block + at, static_cast<std::size_t>(n));
      });
    } else if (kind == Kind::max) {
      walk(&cursor, bytes, rounded, threads, [&](std::int64_t at, std::int64_t n) {
        sink = passes.max(reinterpret_cast<const float*>(block + at), n / 4);
      });
    } else {
      walk(&cursor, bytes, rounded, threads,
           [&](std::int64_t at, std::int64_t n) { sink = static_cast<double>(passes.read(block + at, n)); });
    }
  });
  return static_cast<double>(bytes) / seconds;
}

}  // namespace

const std::vector<const Passes*>& availablePasses() {
  static const std::vector<const Passes*> passes = [] {
    std::vector<const Passes*> list;
#if defined(MEGAMOE_CEILINGS_X86)
    const CpuFeatures& cpu = cpuFeatures();
    if (cpu.avx512f && cpu.avx512bw && cpu.avx512dq && cpu.avx512vl && cpu.avx512vnni && cpu.avx512bf16)
      list.push_back(&avx512::kPasses);
    if (cpu.avx2 && cpu.fma) list.push_back(&avx2::kPasses);
#endif
#if defined(MEGAMOE_CEILINGS_ARM64)
    list.push_back(&neon::kPasses);
#endif
    list.push_back(&generic::kPasses);
    return list;
  }();
  return passes;
}

double measure(Kind kind, int threads, std::int64_t amount, std::int64_t span) {
  static std::mutex* const mutex = new std::mutex();
  std::lock_guard<std::mutex> lock(*mutex);
  if (kind == Kind::read || kind == Kind::copy || kind == Kind::max) return measureMemory(kind, threads, amount, span);
  return measurePeak(kind, threads, amount);
}

}  // namespace megamoe::ceilings
