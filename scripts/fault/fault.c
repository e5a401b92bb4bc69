/*
 * A library to preload (LD_PRELOAD) that makes the n-th operation of a kind fail, or kills the process there. Linux with glibc.
 *
 * MEGAMOE_FAULT_ROOT   only files at or below this folder count (a real path)
 * MEGAMOE_FAULT_STATE  a file of sizeof(struct state) zero bytes, mapped by all processes and threads: they share the counts
 * MEGAMOE_FAULT_KIND   a name of kNames, or `any`: every operation that changes the disk, counted together
 * MEGAMOE_FAULT_N      which one, from 1; 0 or none only counts
 * MEGAMOE_FAULT_HOW    EIO, ENOSPC, ENOMEM, EAGAIN, or KILL (SIGKILL before the operation); with a + at the end all later ones of
 *                      the kind fail, too, and a write of more than a byte first writes the half of it, as a disk that gets full
 *
 * `alloc` and `thread` are what code of an addon (an object whose name ends in .node) asks of malloc and pthread_create.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { OPEN, WRITE, SYNC, RENAME, UNLINK, MKDIR, COPY, TRUNCATE, LINK, CHMOD, CLOSE, READ, STAT, ALLOC, THREAD, ANY, KINDS };
static const char* const kNames[KINDS] = {"open",  "write", "sync", "rename", "unlink", "mkdir",  "copy", "truncate",
                                          "link",  "chmod", "close", "read",  "stat",   "alloc", "thread", "any"};

/* Read by fault.mjs: eight-byte numbers, then text. */
struct state {
  _Atomic int64_t counts[KINDS];
  _Atomic int64_t hits;
  char what[1024]; /* "kind path" of the first operation that failed; of an allocation its bytes */
};

static struct state* state;
static char root[PATH_MAX];
static size_t root_length;
static enum kind chosen = KINDS;
static int64_t chosen_n;
static int fault;      /* an errno, or -1 to kill */
static int stays;      /* all later ones fail, too */
static int looks_at_memory;

static void* real(const char* name) {
  void* const f = dlsym(RTLD_NEXT, name);
  if (f == NULL) abort();
  return f;
}
#define REAL(type, name)                       \
  static type (*next)();                       \
  if (next == NULL) next = (type(*)())real(name)

__attribute__((constructor)) static void start(void) {
  const char* const file = getenv("MEGAMOE_FAULT_STATE");
  const char* const folder = getenv("MEGAMOE_FAULT_ROOT");
  if (file == NULL || folder == NULL) return;
  const int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* const at = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  syscall(SYS_close, fd);
  if (at == MAP_FAILED) return;
  snprintf(root, sizeof root, "%s", folder);
  root_length = strlen(root);
  const char* const name = getenv("MEGAMOE_FAULT_KIND");
  for (int k = 0; k < KINDS; k++)
    if (name != NULL && strcmp(name, kNames[k]) == 0) chosen = k;
  const char* const n = getenv("MEGAMOE_FAULT_N");
  chosen_n = n == NULL ? 0 : atoll(n);
  const char* const how = getenv("MEGAMOE_FAULT_HOW");
  static const struct {
    const char* name;
    int code;
  } kHow[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"ENOMEM", ENOMEM}, {"EAGAIN", EAGAIN}, {"KILL", -1}};
  for (size_t i = 0; how != NULL && i < sizeof kHow / sizeof *kHow; i++)
    if (strncmp(how, kHow[i].name, strlen(kHow[i].name)) == 0) fault = kHow[i].code;
  stays = how != NULL && strchr(how, '+') != NULL;
  looks_at_memory = 1;
  state = at;
}

/* Counts an operation; the errno that it has to fail with, or 0. */
static int count_as(enum kind kind, const char* what, int first) {
  const int64_t n = atomic_fetch_add(&state->counts[kind], 1) + 1;
  if (kind != chosen || chosen_n == 0 || fault == 0) return 0;
  if (n != chosen_n && !(stays && n > chosen_n)) return 0;
  if (atomic_fetch_add(&state->hits, 1) == 0) snprintf(state->what, sizeof state->what, "%s %s", kNames[first], what);
  if (fault == -1) {
    syscall(SYS_kill, (long)syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
  }
  return fault;
}

static int count(enum kind kind, const char* what, int changes) {
  int code = count_as(kind, what, kind);
  if (changes) {
    const int also = count_as(ANY, what, kind);
    if (code == 0) code = also;
  }
  return code;
}

static int below(const char* path) {
  return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

static const char* path_of_fd(int fd, char* out) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const long n = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
  if (n < 0) return NULL;
  out[n] = 0;
  return out;
}

static const char* absolute(int dir, const char* path, char* out) {
  if (path == NULL) return NULL;
  if (path[0] == '/') return path;
  char at[PATH_MAX];
  if (dir == AT_FDCWD) {
    if (syscall(SYS_getcwd, at, sizeof at) < 0) return NULL;
  } else if (path_of_fd(dir, at) == NULL) {
    return NULL;
  }
  if (path[0] == 0) snprintf(out, PATH_MAX, "%s", at);
  else if (snprintf(out, PATH_MAX, "%s/%s", at, path) >= PATH_MAX) return NULL;
  return out;
}

static int at_path(enum kind kind, int dir, const char* path, int changes) {
  if (state == NULL) return 0;
  const int kept = errno;
  char buffer[PATH_MAX];
  const char* const full = absolute(dir, path, buffer);
  errno = kept;
  return full != NULL && below(full) ? count(kind, full, changes) : 0;
}

static int at_fd(enum kind kind, int fd, int changes) {
  if (state == NULL) return 0;
  const int kept = errno;
  char buffer[PATH_MAX];
  const char* const full = path_of_fd(fd, buffer);
  errno = kept;
  return full != NULL && below(full) ? count(kind, full, changes) : 0;
}

#define FAIL(code, result) \
  do {                     \
    const int e = (code);  \
    if (e != 0) {          \
      errno = e;           \
      return result;       \
    }                      \
  } while (0)

/* ---- open ---- */

static int opens(int dir, const char* path, int flags) {
  return at_path(OPEN, dir, path, (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0);
}

#define MODE_OF(flags)                                        \
  mode_t mode = 0;                                            \
  if (((flags) & O_CREAT) != 0 || ((flags) & O_TMPFILE) == O_TMPFILE) { \
    va_list list;                                             \
    va_start(list, flags);                                    \
    mode = va_arg(list, mode_t);                              \
    va_end(list);                                             \
  }
#define OPEN_LIKE(name)                                 \
  int name(const char* path, int flags, ...) {          \
    MODE_OF(flags)                                      \
    FAIL(opens(AT_FDCWD, path, flags), -1);             \
    REAL(int, #name);                                   \
    return next(path, flags, mode);                     \
  }
#define OPENAT_LIKE(name)                               \
  int name(int dir, const char* path, int flags, ...) { \
    MODE_OF(flags)                                      \
    FAIL(opens(dir, path, flags), -1);                  \
    REAL(int, #name);                                   \
    return next(dir, path, flags, mode);                \
  }
OPEN_LIKE(open)
OPEN_LIKE(open64)
OPENAT_LIKE(openat)
OPENAT_LIKE(openat64)
#define OPEN_2(name)                        \
  int name(const char* path, int flags) {   \
    FAIL(opens(AT_FDCWD, path, flags), -1); \
    REAL(int, #name);                       \
    return next(path, flags);               \
  }
OPEN_2(__open_2)
OPEN_2(__open64_2)
#define FOPEN_LIKE(name)                                                                       \
  FILE* name(const char* path, const char* mode) {                                             \
    FAIL(opens(AT_FDCWD, path, strpbrk(mode, "wa+") != NULL ? O_WRONLY : O_RDONLY), (FILE*)0); \
    REAL(FILE*, #name);                                                                        \
    return next(path, mode);                                                                   \
  }
FOPEN_LIKE(fopen)
FOPEN_LIKE(fopen64)

/* ---- write ---- */

/* What a write does before it fails: one of a disk that gets full writes the half, and the next one fails. */
static size_t shortened(int code, size_t n) {
  return code == ENOSPC && stays && atomic_load(&state->hits) == 1 && n > 1 ? n / 2 : 0;
}

ssize_t write(int fd, const void* bytes, size_t n) {
  const int code = at_fd(WRITE, fd, 1);
  const size_t part = code == 0 ? n : shortened(code, n);
  if (part == 0) FAIL(code, -1);
  REAL(ssize_t, "write");
  return next(fd, bytes, part);
}

#define PWRITE_LIKE(name)                                               \
  ssize_t name(int fd, const void* bytes, size_t n, off64_t at) {       \
    const int code = at_fd(WRITE, fd, 1);                               \
    const size_t part = code == 0 ? n : shortened(code, n);             \
    if (part == 0) FAIL(code, -1);                                      \
    static ssize_t (*next)(int, const void*, size_t, off64_t);          \
    if (next == NULL) next = (ssize_t(*)(int, const void*, size_t, off64_t))real(#name); \
    return next(fd, bytes, part, at);                                   \
  }
PWRITE_LIKE(pwrite)
PWRITE_LIKE(pwrite64)

ssize_t writev(int fd, const struct iovec* pieces, int n) {
  FAIL(at_fd(WRITE, fd, 1), -1);
  REAL(ssize_t, "writev");
  return next(fd, pieces, n);
}
#define PWRITEV_LIKE(name)                                                  \
  ssize_t name(int fd, const struct iovec* pieces, int n, off64_t at) {     \
    FAIL(at_fd(WRITE, fd, 1), -1);                                          \
    static ssize_t (*next)(int, const struct iovec*, int, off64_t);         \
    if (next == NULL) next = (ssize_t(*)(int, const struct iovec*, int, off64_t))real(#name); \
    return next(fd, pieces, n, at);                                         \
  }
PWRITEV_LIKE(pwritev)
PWRITEV_LIKE(pwritev64)

/* ---- read ---- */

ssize_t read(int fd, void* bytes, size_t n) {
  FAIL(at_fd(READ, fd, 0), -1);
  REAL(ssize_t, "read");
  return next(fd, bytes, n);
}
#define PREAD_LIKE(name)                                          \
  ssize_t name(int fd, void* bytes, size_t n, off64_t at) {       \
    FAIL(at_fd(READ, fd, 0), -1);                                 \
    static ssize_t (*next)(int, void*, size_t, off64_t);          \
    if (next == NULL) next = (ssize_t(*)(int, void*, size_t, off64_t))real(#name); \
    return next(fd, bytes, n, at);                                \
  }
PREAD_LIKE(pread)
PREAD_LIKE(pread64)

/* ---- other operations of open files ---- */

#define OF_FD(kind, type, name, parameters, arguments)      \
  type name parameters {                                    \
    FAIL(at_fd(kind, fd, 1), -1);                           \
    static type(*next) parameters;                          \
    if (next == NULL) next = (type(*) parameters)real(#name); \
    return next arguments;                                  \
  }
OF_FD(SYNC, int, fsync, (int fd), (fd))
OF_FD(SYNC, int, fdatasync, (int fd), (fd))
OF_FD(TRUNCATE, int, ftruncate, (int fd, off64_t n), (fd, n))
OF_FD(TRUNCATE, int, ftruncate64, (int fd, off64_t n), (fd, n))
OF_FD(CHMOD, int, fchmod, (int fd, mode_t mode), (fd, mode))
OF_FD(COPY, ssize_t, sendfile, (int fd, int in, off64_t* at, size_t n), (fd, in, at, n))
OF_FD(COPY, ssize_t, sendfile64, (int fd, int in, off64_t* at, size_t n), (fd, in, at, n))

ssize_t copy_file_range(int in, off64_t* from, int fd, off64_t* to, size_t n, unsigned flags) {
  FAIL(at_fd(COPY, fd, 1), -1);
  static ssize_t (*next)(int, off64_t*, int, off64_t*, size_t, unsigned);
  if (next == NULL) next = (ssize_t(*)(int, off64_t*, int, off64_t*, size_t, unsigned))real("copy_file_range");
  return next(in, from, fd, to, n, flags);
}

/* An error of close comes after the file is closed. */
int close(int fd) {
  const int flags = state == NULL ? 0 : (int)syscall(SYS_fcntl, fd, F_GETFL);
  const int code = flags > 0 && (flags & O_ACCMODE) != O_RDONLY ? at_fd(CLOSE, fd, 1) : 0;
  REAL(int, "close");
  const int result = next(fd);
  FAIL(code, -1);
  return result;
}

/* ---- operations of names ---- */

static int two_paths(int from_dir, const char* from, int to_dir, const char* to) {
  if (state == NULL) return 0;
  char buffer[PATH_MAX];
  const char* const full = absolute(to_dir, to, buffer);
  return full != NULL && below(full) ? count(RENAME, full, 1) : at_path(RENAME, from_dir, from, 1);
}

#define OF_PATH(kind, name, parameters, arguments, dir, path)  \
  int name parameters {                                        \
    FAIL(at_path(kind, dir, path, 1), -1);                     \
    static int(*next) parameters;                              \
    if (next == NULL) next = (int(*) parameters)real(#name);   \
    return next arguments;                                     \
  }
OF_PATH(UNLINK, unlink, (const char* path), (path), AT_FDCWD, path)
OF_PATH(UNLINK, unlinkat, (int dir, const char* path, int flags), (dir, path, flags), dir, path)
OF_PATH(UNLINK, rmdir, (const char* path), (path), AT_FDCWD, path)
OF_PATH(UNLINK, remove, (const char* path), (path), AT_FDCWD, path)
OF_PATH(MKDIR, mkdir, (const char* path, mode_t mode), (path, mode), AT_FDCWD, path)
OF_PATH(MKDIR, mkdirat, (int dir, const char* path, mode_t mode), (dir, path, mode), dir, path)
OF_PATH(TRUNCATE, truncate, (const char* path, off64_t n), (path, n), AT_FDCWD, path)
OF_PATH(TRUNCATE, truncate64, (const char* path, off64_t n), (path, n), AT_FDCWD, path)
OF_PATH(CHMOD, chmod, (const char* path, mode_t mode), (path, mode), AT_FDCWD, path)
OF_PATH(CHMOD, fchmodat, (int dir, const char* path, mode_t mode, int flags), (dir, path, mode, flags), dir, path)
OF_PATH(LINK, link, (const char* from, const char* path), (from, path), AT_FDCWD, path)
OF_PATH(LINK, linkat, (int d, const char* from, int dir, const char* path, int flags), (d, from, dir, path, flags), dir, path)
OF_PATH(LINK, symlink, (const char* to, const char* path), (to, path), AT_FDCWD, path)
OF_PATH(LINK, symlinkat, (const char* to, int dir, const char* path), (to, dir, path), dir, path)

int rename(const char* from, const char* to) {
  FAIL(two_paths(AT_FDCWD, from, AT_FDCWD, to), -1);
  REAL(int, "rename");
  return next(from, to);
}
int renameat(int from_dir, const char* from, int to_dir, const char* to) {
  FAIL(two_paths(from_dir, from, to_dir, to), -1);
  REAL(int, "renameat");
  return next(from_dir, from, to_dir, to);
}
int renameat2(int from_dir, const char* from, int to_dir, const char* to, unsigned flags) {
  FAIL(two_paths(from_dir, from, to_dir, to), -1);
  REAL(int, "renameat2");
  return next(from_dir, from, to_dir, to, flags);
}

/* ---- what is asked of files ---- */

int access(const char* path, int mode) {
  FAIL(at_path(STAT, AT_FDCWD, path, 0), -1);
  REAL(int, "access");
  return next(path, mode);
}
int statx(int dir, const char* restrict path, int flags, unsigned mask, struct statx* restrict out) {
  FAIL(at_path(STAT, dir, path, 0), -1);
  REAL(int, "statx");
  return next(dir, path, flags, mask, out);
}

/* libuv makes some of its calls by number. */
long syscall(long number, ...) {
  long a[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  static long (*next)(long, ...);
  if (next == NULL) next = (long (*)(long, ...))real("syscall");
  if (state != NULL) {
    if (number == SYS_statx) FAIL(at_path(STAT, (int)a[0], (const char*)a[1], 0), -1);
    if (number == SYS_copy_file_range) FAIL(at_fd(COPY, (int)a[2], 1), -1);
#ifdef SYS_renameat2
    if (number == SYS_renameat2) FAIL(two_paths((int)a[0], (const char*)a[1], (int)a[2], (const char*)a[3]), -1);
#endif
  }
  return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- memory and threads of addons ---- */

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

static int by_addon(void* caller) {
  struct dl_find_object found;
  if (_dl_find_object(caller, &found) != 0 || found.dlfo_link_map == NULL) return 0;
  const char* const name = found.dlfo_link_map->l_name;
  const size_t n = name == NULL ? 0 : strlen(name);
  return n > 5 && strcmp(name + n - 5, ".node") == 0;
}

static int refused(void* caller, size_t bytes) {
  if (!looks_at_memory || !by_addon(caller)) return 0;
  char text[32];
  snprintf(text, sizeof text, "%zu bytes", bytes);
  return count(ALLOC, text, 0);
}
#define CALLER __builtin_return_address(0)

void* malloc(size_t n) {
  FAIL(refused(CALLER, n), NULL);
  return __libc_malloc(n);
}
void* calloc(size_t n, size_t size) {
  FAIL(refused(CALLER, n * size), NULL);
  return __libc_calloc(n, size);
}
void* realloc(void* p, size_t n) {
  FAIL(refused(CALLER, n), NULL);
  return __libc_realloc(p, n);
}
void* aligned_alloc(size_t alignment, size_t n) {
  FAIL(refused(CALLER, n), NULL);
  return __libc_memalign(alignment, n);
}
void* memalign(size_t alignment, size_t n) {
  FAIL(refused(CALLER, n), NULL);
  return __libc_memalign(alignment, n);
}
int posix_memalign(void** out, size_t alignment, size_t n) {
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
  const int code = refused(CALLER, n);
  if (code != 0) return code;
  void* const p = __libc_memalign(alignment, n);
  if (p == NULL) return ENOMEM;
  *out = p;
  return 0;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*), void* argument) {
  if (looks_at_memory && by_addon(CALLER)) {
    const int code = count(THREAD, "a thread", 0);
    if (code != 0) return code;
  }
  static int (*next)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  if (next == NULL) next = (int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*))real("pthread_create");
  return next(thread, attributes, run, argument);
}
