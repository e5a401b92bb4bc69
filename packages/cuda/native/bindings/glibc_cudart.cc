// Keeps the addon loadable where glibc is old, as native-kit's glibc_compat.cc does: what the CUDA runtime, which is
// linked into it, calls besides. All of it moved into libc in 2.34; before that Node itself brings the libraries along
// that have it, but for librt.
#if defined(__linux__)
#include <features.h>
#endif
#if defined(__GLIBC__) && defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "glibc_forward.h"

#if __GLIBC_PREREQ(2, 34)
FORWARD(int, pthread_mutexattr_init, (void* a), (a))
FORWARD(int, pthread_mutexattr_destroy, (void* a), (a))
FORWARD(int, pthread_rwlockattr_init, (void* a), (a))
FORWARD(int, pthread_rwlockattr_destroy, (void* a), (a))
FORWARD(int, pthread_rwlock_destroy, (void* a), (a))
FORWARD(int, pthread_rwlock_rdlock, (void* a), (a))
FORWARD(int, pthread_rwlock_tryrdlock, (void* a), (a))
FORWARD(int, pthread_rwlock_wrlock, (void* a), (a))
FORWARD(int, pthread_rwlock_trywrlock, (void* a), (a))
FORWARD(int, pthread_rwlock_unlock, (void* a), (a))
FORWARD(int, pthread_spin_destroy, (void* a), (a))
FORWARD(int, pthread_spin_lock, (void* a), (a))
FORWARD(int, pthread_spin_trylock, (void* a), (a))
FORWARD(int, pthread_spin_unlock, (void* a), (a))
FORWARD(int, sem_destroy, (void* a), (a))
FORWARD(int, sem_post, (void* a), (a))
FORWARD(int, sem_trywait, (void* a), (a))
FORWARD(int, sem_wait, (void* a), (a))
FORWARD(int, pthread_condattr_setpshared, (void* a, int b), (a, b))
FORWARD(int, pthread_mutexattr_settype, (void* a, int b), (a, b))
FORWARD(int, pthread_mutexattr_setpshared, (void* a, int b), (a, b))
FORWARD(int, pthread_rwlockattr_setpshared, (void* a, int b), (a, b))
FORWARD(int, pthread_spin_init, (void* a, int b), (a, b))
FORWARD(int, pthread_rwlock_init, (void* a, const void* b), (a, b))
FORWARD(int, pthread_rwlock_timedrdlock, (void* a, const void* b), (a, b))
FORWARD(int, pthread_rwlock_timedwrlock, (void* a, const void* b), (a, b))
FORWARD(int, sem_timedwait, (void* a, const void* b), (a, b))
FORWARD(int, pthread_kill, (unsigned long thread, int signal), (thread, signal))
FORWARD(int, sem_init, (void* semaphore, int isShared, unsigned value), (semaphore, isShared, value))
FORWARD(char*, dlerror, (), ())
FORWARD(void*, dlvsym, (void* object, const char* name, const char* version), (object, name, version))
#if defined(__x86_64__)
#define FIRST_DLMOPEN "GLIBC_2.3.4"
#else
#define FIRST_DLMOPEN FIRST_VERSION
#endif
FORWARD_TO(FIRST_DLMOPEN, void*, dlmopen, (long space, const char* file, int mode), (space, file, mode))

// librt is not there for us: the two functions of it that are called, as it has them.
HIDDEN int shm_open(const char* name, int flags, unsigned mode) {
  const std::string path = std::string("/dev/shm/") + (name[0] == '/' ? name + 1 : name);
  return open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, mode);
}
HIDDEN int shm_unlink(const char* name) {
  const std::string path = std::string("/dev/shm/") + (name[0] == '/' ? name + 1 : name);
  return unlink(path.c_str());
}
#endif
#endif
