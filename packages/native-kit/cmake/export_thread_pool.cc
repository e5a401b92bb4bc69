// Compiled into every addon on Linux: how the others find its pool of threads (megamoe/shared_pool.h).
#include <megamoe/thread_pool.h>

extern "C" __attribute__((visibility("default"))) const megamoe::PoolHandle* megamoe_thread_pool_v1() {
  return &megamoe::ThreadPool::own();
}
