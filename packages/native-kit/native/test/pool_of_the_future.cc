// An addon of a release whose pool is another: nobody who does not know that version may call it.
#include <cstdlib>

extern "C" __attribute__((visibility("default"))) const void* megamoe_thread_pool_v2() { std::abort(); }
