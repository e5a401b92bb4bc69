// What is said when memory runs out. That the addons' `new` says it is tried in the built addons: scripts/fault.
#include <megamoe/out_of_memory.h>
#include <megamoe/test.h>

#include <cstdint>
#include <string>

namespace {

template <class Error>
std::string textOf(const Error& thrown, std::size_t size) {
  char text[96] = "nothing was thrown";
  try {
    throw thrown;
  } catch (const std::bad_alloc& error) {
    megamoe::outOfMemoryText(text, size, "pack", error);
  }
  return text;
}

void saysHowMuchWasAskedFor() {
  CHECK(textOf(megamoe::OutOfMemory(64), 96) == "pack: out of memory: cannot allocate 64 bytes");
  CHECK(textOf(megamoe::OutOfMemory(SIZE_MAX), 96) ==
        "pack: out of memory: cannot allocate " + std::to_string(SIZE_MAX) + " bytes");
  CHECK(textOf(std::bad_alloc(), 96) == "pack: out of memory");
}

void cutsItsTextToTheSpace() { CHECK(textOf(megamoe::OutOfMemory(64), 12) == "pack: out o"); }

}  // namespace

int main() {
  saysHowMuchWasAskedFor();
  cutsItsTextToTheSpace();
  CHECK(megamoe::canThrow());
  return megamoe::test::finish();
}
