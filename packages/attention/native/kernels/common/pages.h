// Where entries of a query row lie. Included inside an instruction set's namespace.

// Entry w of row r.
inline const float* entryOf(const IndexSelectParams& p, int64_t r, int64_t w) {
  const int64_t page = p.pageIds[p.pageBase[r] + w / p.pageRows];
  return p.entries + (page * p.pageRows + w % p.pageRows) * p.dim;
}

// How many of the entries from w on lie in its page.
inline int64_t leftInPage(const IndexSelectParams& p, int64_t w) { return p.pageRows - w % p.pageRows; }
