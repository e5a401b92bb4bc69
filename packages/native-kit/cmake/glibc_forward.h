// Calls of functions of glibc in the version that they first had (glibc_compat.cc), for addons whose libraries call
// more of them than ours do. <pthread.h> and the like are not included beside it: handles are passed on as they come.
#pragma once

#if defined(__x86_64__)
#define FIRST_VERSION "GLIBC_2.2.5"
#else
#define FIRST_VERSION "GLIBC_2.17"
#endif
#define HIDDEN extern "C" __attribute__((visibility("hidden")))

// Defines NAME as a call of NAME@VERSION.
#define FORWARD_TO(VERSION, RESULT, NAME, PARAMETERS, ARGUMENTS)  \
  extern "C" RESULT megamoe_first_##NAME PARAMETERS;              \
  __asm__(".symver megamoe_first_" #NAME ", " #NAME "@" VERSION); \
  HIDDEN RESULT NAME PARAMETERS { return megamoe_first_##NAME ARGUMENTS; }

#define FORWARD(RESULT, NAME, PARAMETERS, ARGUMENTS) FORWARD_TO(FIRST_VERSION, RESULT, NAME, PARAMETERS, ARGUMENTS)
