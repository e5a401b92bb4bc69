// Files are read in parts, and the answer says how far they go. Needs no GPU.
#include <megamoe/test.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "../device/read_file.h"

using namespace megamoe::cuda;

namespace {

// Byte i of the file: no period that a part's size is a multiple of.
std::uint8_t byteAt(std::int64_t i) { return static_cast<std::uint8_t>((i * 2654435761ll) >> 13); }

bool isPart(const std::vector<std::uint8_t>& data, std::int64_t bytes, std::int64_t position) {
  for (std::int64_t i = 0; i < bytes; i++)
    if (data[static_cast<std::size_t>(i)] != byteAt(position + i)) return false;
  return true;
}

}  // namespace

int main() {
  CHECK(canReadFiles());
  constexpr std::int64_t kSize = 5'000'001;
  std::FILE* file = std::tmpfile();
  CHECK(file != nullptr);
  for (std::int64_t i = 0; i < kSize; i++) std::fputc(byteAt(i), file);
  std::fflush(file);
  const int descriptor = fileno(file);
  for (const std::int64_t position :
       {std::int64_t{0}, std::int64_t{1}, std::int64_t{524'287}, kSize - 1, kSize, kSize + 9})
    for (const std::int64_t bytes : {std::int64_t{0}, std::int64_t{1}, std::int64_t{524'288}, std::int64_t{524'289},
                                     std::int64_t{3'000'000}, kSize, kSize + 2'000'000}) {
      std::vector<std::uint8_t> data(static_cast<std::size_t>(bytes) + 1, 0xee);
      const std::int64_t there = std::max<std::int64_t>(0, std::min(bytes, kSize - position));
      CHECK(readFile(descriptor, data.data(), bytes, position) == there);
      CHECK(isPart(data, there, position));
      CHECK(data.back() == 0xee);  // nothing beyond what was asked for
    }
  std::fclose(file);
  std::string said;
  try {
    std::vector<std::uint8_t> data(2'000'000);
    readFile(-1, data.data(), 2'000'000, 0);
  } catch (const std::runtime_error& error) {
    said = error.what();
  }
  CHECK(said == "pread: Bad file descriptor");
  return megamoe::test::finish();
}
