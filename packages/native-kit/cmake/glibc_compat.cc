// Keeps an addon that is built on a new Linux loadable on an old one (glibc 2.28: RHEL 8, Debian 10, Amazon Linux
// 2023).
//
// The static C++ runtime and our own code call functions that newer glibc versions gave a new symbol version: the POSIX
// thread calls and dlopen moved into libc in 2.34, exp and its kin lost their SVID error handling in 2.29, the unwinder
// found _dl_find_object in 2.35. The linker binds to the newest version there is, and an older glibc then refuses the
// file. The definitions below are seen by this addon only (hidden) and come before libc's: they pass the call to the
// version that every glibc since the first port has, or do the work themselves. `scripts/release/check-addon.mjs`
// proves that nothing newer than 2.28 is left.
#if defined(__linux__)
#include <features.h>
#endif
#if defined(__GLIBC__) && defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
#include <link.h>

#include <cstddef>
#include <cstdint>

#include "glibc_forward.h"

#if __GLIBC_PREREQ(2, 34)
FORWARD(int, pthread_create, (void* thread, const void* attributes, void* (*start)(void*), void* argument),
        (thread, attributes, start, argument))
FORWARD(int, pthread_join, (unsigned long thread, void** result), (thread, result))
FORWARD(int, pthread_detach, (unsigned long thread), (thread))
FORWARD(int, pthread_once, (void* control, void (*routine)()), (control, routine))
FORWARD(int, pthread_mutex_trylock, (void* mutex), (mutex))
FORWARD(int, pthread_key_create, (unsigned* key, void (*destroy)(void*)), (key, destroy))
FORWARD(int, pthread_key_delete, (unsigned key), (key))
FORWARD(void*, pthread_getspecific, (unsigned key), (key))
FORWARD(int, pthread_setspecific, (unsigned key, const void* value), (key, value))
FORWARD(void*, dlopen, (const char* file, int mode), (file, mode))
FORWARD(void*, dlsym, (void* object, const char* name), (object, name))
FORWARD(int, dlclose, (void* object), (object))
// libstdc++ asks for this name (weakly) to see whether the program has threads at all: it has.
HIDDEN int __pthread_key_create(unsigned* key, void (*destroy)(void*)) { return pthread_key_create(key, destroy); }
#endif

#if __GLIBC_PREREQ(2, 32)
// Set in glibc while a process has one thread, so that libstdc++ may count references without atomics: atomics are
// always right.
HIDDEN char __libc_single_threaded;
char __libc_single_threaded = 0;
#endif

#if __GLIBC_PREREQ(2, 29)
// The same code as the 2.29 versions behind a check of _LIB_VERSION: the same bits.
FORWARD(double, exp, (double x), (x))
FORWARD(double, exp2, (double x), (x))
FORWARD(double, log, (double x), (x))
FORWARD(double, log2, (double x), (x))
FORWARD(double, pow, (double x, double y), (x, y))
#endif

#if __GLIBC_PREREQ(2, 35)
namespace {
struct Search {
  std::uintptr_t pc;
  dl_find_object* result;
};

/// dl_iterate_phdr callback: 1 when `info` is the object that the program counter lies in.
int find(dl_phdr_info* info, std::size_t, void* data) {
  auto& search = *static_cast<Search*>(data);
  bool inside = false;
  void* ehFrame = nullptr;
  std::uintptr_t first = UINTPTR_MAX, end = 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& segment = info->dlpi_phdr[i];
    const std::uintptr_t start = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_GNU_EH_FRAME) ehFrame = reinterpret_cast<void*>(start);
    if (segment.p_type != PT_LOAD) continue;
    if (search.pc >= start && search.pc < start + segment.p_memsz) inside = true;
    if (start < first) first = start;
    if (start + segment.p_memsz > end) end = start + segment.p_memsz;
  }
  if (!inside || ehFrame == nullptr) return 0;
  *search.result = {};
  search.result->dlfo_map_start = reinterpret_cast<void*>(first);
  search.result->dlfo_map_end = reinterpret_cast<void*>(end);
  search.result->dlfo_eh_frame = ehFrame;
  return 1;
}
}  // namespace

// What libgcc's unwinder asks when an exception is thrown: where the unwind table of an address is. libgcc did it this
// way before 2.35.
HIDDEN int _dl_find_object(void* address, dl_find_object* result) noexcept {
  Search search{reinterpret_cast<std::uintptr_t>(address), result};
  return dl_iterate_phdr(find, &search) == 1 ? 0 : -1;
}
#endif
#endif
