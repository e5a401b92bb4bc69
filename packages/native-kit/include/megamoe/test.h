// The few lines of test support that our C++ tests need: CHECK counts failures and goes on, finish() is main's return
// value.
#pragma once

#include <cstdio>

namespace megamoe::test {

inline int& failures() {
  static int count = 0;
  return count;
}

inline int& checks() {
  static int count = 0;
  return count;
}

// Prints the totals; a test that checked nothing fails.
inline int finish() {
  std::printf("%d checks, %d failures\n", checks(), failures());
  return failures() != 0 || checks() == 0 ? 1 : 0;
}

}  // namespace megamoe::test

#define CHECK(condition)                                                        \
  do {                                                                          \
    ++megamoe::test::checks();                                                  \
    if (!(condition)) {                                                         \
      ++megamoe::test::failures();                                              \
      std::printf("%s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #condition); \
    }                                                                           \
  } while (0)
