// Kernels for any vector width, in terms of the vocabulary of avx2/vec.h, avx512/vec.h and neon/vec.h. Included inside
// an instruction set's namespace.

constexpr float kInfinity = __builtin_inff();

// Multiply-adds that are worth another thread: some twenty microseconds.
constexpr int64_t kRangeWork = int64_t{1} << 20;

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t roundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
inline int64_t vectorsOf(int64_t n) { return (n + kLanes - 1) / kLanes; }

#include "math.h"
#include "tile.h"
#include "pack.h"
#include "rope.h"
#include "pool.h"
#include "../common/compress.h"
#include "../common/pages.h"
#include "../common/keys.h"
#include "index_scores.h"
#include "select_top.h"
#include "key_feed.h"
#include "attend.h"
