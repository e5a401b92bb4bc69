#include <megamoe/codecs.h>
#include <megamoe/test.h>

using namespace megamoe;

namespace {

// Nearest value by search, ties to the even index: the definition.
template <class Decode>
int nearest(float x, int count, Decode decode) {
  int best = 0;
  for (int i = 1; i < count; i++) {
    const double d = std::fabs(double(decode(i)) - x), b = std::fabs(double(decode(best)) - x);
    if (d < b || (d == b && i % 2 == 0)) best = i;
  }
  return best;
}

void e2m1() {
  for (int code = 0; code < 16; code++) CHECK(decodeE2m1(code) * 2 == kE2m1Doubled[code]);
  for (int i = 0; i <= 7 * 256; i++) {
    const float x = static_cast<float>(i) / 256;
    const unsigned want =
        static_cast<unsigned>(nearest(x, 8, [](int c) { return decodeE2m1(static_cast<unsigned>(c)); }));
    CHECK(encodeE2m1(x) == want);
    if (x > 0) CHECK(encodeE2m1(-x) == (want | 8));
  }
  CHECK(encodeE2m1(-0.f) == 0);
  CHECK(encodeE2m1(-1e-9f) == 8);
  CHECK(encodeE2m1(INFINITY) == 7);
}

void e4m3() {
  const auto decode = [](int b) { return decodeE4m3(static_cast<std::uint8_t>(b)); };
  CHECK(decode(1) == 0x1p-9f && decode(8) == 0x1p-6f && decode(0x38) == 1.f && decode(0x7e) == 448.f);
  CHECK(std::isnan(decode(0x7f)) && std::isnan(decode(0xff)));
  for (int b = 0; b < 256; b++)
    if ((b & 0x7f) != 0x7f) CHECK(encodeE4m3(decode(b)) == b);
  for (int b = 0; b < 0x7e; b++) {
    const float lo = decode(b), hi = decode(b + 1), mid = (lo + hi) / 2;
    CHECK(encodeE4m3(mid) == (b % 2 == 0 ? b : b + 1));
    CHECK(encodeE4m3(std::nextafter(mid, 0.f)) == b);
    CHECK(encodeE4m3(std::nextafter(mid, 1e9f)) == b + 1);
    CHECK(encodeE4m3(-mid) == ((b % 2 == 0 ? b : b + 1) | 0x80));
  }
  CHECK(encodeE4m3(449.f) == 0x7e && encodeE4m3(INFINITY) == 0x7e && encodeE4m3(NAN) == 0x7f &&
        encodeE4m3(-0.f) == 0x80);
}

void bf16() {
  for (unsigned b = 0; b < 65536; b++) {
    const float v = decodeBf16(static_cast<std::uint16_t>(b));
    if (std::isnan(v))
      CHECK(std::isnan(decodeBf16(encodeBf16(v))));
    else
      CHECK(encodeBf16(v) == b);
  }
  CHECK(encodeBf16(1 + 0x1p-8f) == encodeBf16(1.f));
  CHECK(encodeBf16(1 + 3 * 0x1p-8f) == encodeBf16(1 + 0x1p-6f));
}

void e8m0() {
  CHECK(decodeE8m0(127) == 1.f && decodeE8m0(0) == 0x1p-127f && decodeE8m0(254) == 0x1p127f &&
        std::isnan(decodeE8m0(255)));
}

}  // namespace

int main() {
  e2m1();
  e4m3();
  bf16();
  e8m0();
  return megamoe::test::finish();
}
