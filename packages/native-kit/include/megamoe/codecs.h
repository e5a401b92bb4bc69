// The small number formats, by the rules of @megamoe/core: decoding is exact in float32, encoding rounds to nearest,
// ties to even.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace megamoe {

inline float bitsToFloat(std::uint32_t bits) {
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}

inline std::uint32_t floatToBits(float f) {
  std::uint32_t bits;
  std::memcpy(&bits, &f, sizeof bits);
  return bits;
}

// Values of the 16 E2M1 codes, doubled, so that they are integers: 0, 1, 2, 3, 4, 6, 8, 12 and their negatives.
inline constexpr std::int8_t kE2m1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Value of an E2M1 code (code 8 is -0).
inline float decodeE2m1(unsigned code) {
  constexpr float values[16] = {0.f,  .5f,  1.f,  1.5f,  2.f,  3.f,  4.f,  6.f,
                                -0.f, -.5f, -1.f, -1.5f, -2.f, -3.f, -4.f, -6.f};
  return values[code & 15];
}

// The E2M1 code nearest to x, ties to the even code, saturating at 6; the sign bit is x < 0, so -0 becomes code 0.
inline unsigned encodeE2m1(float x) {
  const float a = std::fabs(x);
  // Each comparison adds one step; > sends a tie down (.25, 1.25, 2.5, 5), >= sends it up (.75, 1.75, 3.5).
  const unsigned code = unsigned(a > .25f) + unsigned(a >= .75f) + unsigned(a > 1.25f) + unsigned(a >= 1.75f) +
                        unsigned(a > 2.5f) + unsigned(a >= 3.5f) + unsigned(a > 5.f);
  return code | (x < 0.f ? 8u : 0u);
}

// Value of an E4M3 byte (e4m3fn: no infinity; 0x7F and 0xFF are NaN).
inline float decodeE4m3(std::uint8_t byte) {
  if ((byte & 0x7f) == 0x7f) return std::nanf("");
  // Exponent and mantissa moved to float32's places give the value times 2^-120, subnormals included.
  const float magnitude = bitsToFloat(static_cast<std::uint32_t>(byte & 0x7f) << 20) * 0x1p120f;
  return (byte & 0x80) ? -magnitude : magnitude;
}

// The E4M3 byte nearest to x, ties to even, saturating at 448; NaN gives 0x7F and the sign of zero is kept.
inline std::uint8_t encodeE4m3(float x) {
  if (std::isnan(x)) return 0x7f;
  const std::uint8_t sign = std::signbit(x) ? 0x80 : 0;
  const float a = std::fabs(x);
  if (a >= 448.f) return sign | 0x7e;
  if (a < 0x1p-6f)
    return sign | static_cast<std::uint8_t>(std::nearbyint(a * 512.f));  // subnormal step 2^-9; 8 is the first normal
  const std::uint32_t bits = floatToBits(a);
  const std::uint32_t rounded = bits + 0x7ffff + ((bits >> 20) & 1);  // keep three mantissa bits
  return sign | static_cast<std::uint8_t>((rounded >> 20) - (120u << 3));
}

// Value of an E8M0 byte: 2^(byte - 127); 255 is NaN.
inline float decodeE8m0(std::uint8_t byte) {
  if (byte == 255) return std::nanf("");
  return byte == 0 ? bitsToFloat(0x00400000u) : bitsToFloat(static_cast<std::uint32_t>(byte) << 23);
}

// Value of a BF16 bit pattern.
inline float decodeBf16(std::uint16_t bits) { return bitsToFloat(static_cast<std::uint32_t>(bits) << 16); }

// The BF16 bit pattern nearest to x, ties to even; NaN stays NaN.
inline std::uint16_t encodeBf16(float x) {
  const std::uint32_t u = floatToBits(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((u >> 16) | 0x40);
  return static_cast<std::uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

}  // namespace megamoe
