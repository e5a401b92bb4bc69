// The keys of a query, copied to where the products read them.
#pragma once

#include "../common/keys.h"
#include "pack.h"

namespace megamoe::attention::simd {

// Copies the key rows of a query, block by block, in pieces of a chunk: those of the next block a few at a time between
// the tiles of this one, each asked for some tiles before. Rows scattered over a cache of entries come from far away,
// and no processor guesses which is next.
template <class V>
class KeyFeed {
 public:
  // The keys [first, end) of query row r; first is a whole number of blocks. keys [2, chunks, kKeyBlock, kChunk].
  KeyFeed(const AttendParams& p, std::int64_t r, std::int64_t first, std::int64_t end, float* keys)
      : p_(p), r_(r), keys_(keys), chunks_(chunksOf(p.d)), end_(end * chunks_) {
    at_.piece = first * chunks_;
    at_.row = first;
    asked_ = at_;
    ask(at_.piece + kKeyBlock * chunks_);
  }

  // Where the block that begins with key k0 lies.
  const float* block(std::int64_t k0) const { return keys_ + k0 / kKeyBlock % 2 * chunks_ * kKeyBlock * kChunk; }

  // Copies what is missing of the keys up to `end`.
  void finish(std::int64_t end) {
    while (at_.piece < end * chunks_) copy();
  }

  // From now on operator() is called `times` times, and after them the keys up to `end` are there.
  void pace(std::int64_t end, std::int64_t times) {
    missing_ = least(end * chunks_, end_) - at_.piece;
    times_ = times;
    due_ = 0;
  }

  void operator()() {
    for (due_ += missing_; due_ >= times_; due_ -= times_) copy();
  }

 private:
  static constexpr std::int64_t kAhead = 8;

  struct Cursor {
    std::int64_t piece = 0, row = 0, chunk = 0;
    const float* key = nullptr;
  };

  std::int64_t size(const Cursor& c) const { return least(kChunk, p_.d - c.chunk * kChunk); }

  void locate(Cursor& c) const {
    if (c.chunk == 0) c.key = keyRow(p_, r_, c.row);
  }

  void next(Cursor& c) const {
    c.piece++;
    if (++c.chunk == chunks_) {
      c.chunk = 0;
      c.row++;
    }
  }

  // Asks for the pieces up to `end`.
  void ask(std::int64_t end) {
    for (end = least(end, end_); asked_.piece < end; next(asked_)) {
      locate(asked_);
      const float* from = asked_.key + asked_.chunk * kChunk;
      const std::int64_t n = size(asked_);
      for (std::int64_t i = 0; i < n; i += kLine) V::prefetch(from + i);
      V::prefetch(from + n - 1);  // rows need not start where a line does
    }
  }

  void copy() {
    ask(at_.piece + kAhead);
    locate(at_);
    const std::int64_t to = at_.row / kKeyBlock % 2 * chunks_ * kKeyBlock + at_.chunk * kKeyBlock + at_.row % kKeyBlock;
    packPiece<V>(at_.key + at_.chunk * kChunk, size(at_), keys_ + to * kChunk);
    next(at_);
  }

  const AttendParams& p_;
  const std::int64_t r_;
  float* const keys_;
  const std::int64_t chunks_, end_;
  Cursor at_, asked_;
  std::int64_t missing_ = 0, times_ = 1, due_ = 0;
};

}  // namespace megamoe::attention::simd
