#include "read_file.h"

#include <megamoe/thread_pool.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace megamoe::cuda {

#if defined(_WIN32)

bool canReadFiles() { return false; }  // a file descriptor belongs to the C runtime of whoever opened it

std::int64_t readFile(int, void*, std::int64_t, std::int64_t) { throw std::runtime_error("readFile: not on Windows"); }

#else

namespace {

// Large enough for a disk to stream, small enough that a matrix of a few megabytes keeps all readers busy.
constexpr std::int64_t kPart = 1 << 19;
// More do not make a disk faster.
constexpr int kReaders = 16;

// Bytes of one part that were read; fewer at the end of the file.
std::int64_t readPart(int file, char* to, std::int64_t bytes, std::int64_t position) {
  std::int64_t done = 0;
  while (done < bytes) {
    const ssize_t n = pread(file, to + done, static_cast<std::size_t>(bytes - done), position + done);
    if (n == 0) break;
    if (n > 0) {
      done += n;
    } else if (errno != EINTR) {
      throw std::runtime_error(std::string("pread: ") + std::strerror(errno));
    }
  }
  return done;
}

}  // namespace

bool canReadFiles() { return true; }

std::int64_t readFile(int file, void* to, std::int64_t bytes, std::int64_t position) {
  const std::int64_t parts = (bytes + kPart - 1) / kPart;
  std::vector<std::int64_t> got(static_cast<std::size_t>(parts));
  parallelFor(parts, kReaders, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) {
      const std::int64_t at = i * kPart;
      got[static_cast<std::size_t>(i)] =
          readPart(file, static_cast<char*>(to) + at, std::min(kPart, bytes - at), position + at);
    }
  });
  std::int64_t whole = 0;
  for (const std::int64_t n : got) {
    whole += n;
    if (n < kPart) break;  // the last one, or the end of the file: what lies beyond a gap does not count
  }
  return whole;
}

#endif

}  // namespace megamoe::cuda
