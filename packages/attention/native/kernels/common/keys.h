// The keys of a query row: those of its window, then entries. Included inside an instruction set's namespace.

inline int64_t keyCount(const AttendParams& p, int64_t r) {
  return static_cast<int64_t>(p.near.count[r]) + p.far.count[r];
}

inline const float* keyRow(const AttendParams& p, int64_t r, int64_t j) {
  const int64_t near = p.near.count[r];
  if (j < near) return p.window + p.near.index[p.near.start[r] + j] * p.d;
  return p.entries + p.far.index[p.far.start[r] + j - near] * p.d;
}
