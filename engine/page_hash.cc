#include "engine/page_hash.h"

#include <bit>
#include <random>

namespace switchyard {
namespace {

struct SipState {
  uint64_t v0, v1, v2, v3;

  void Round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void Absorb(uint64_t word) {
    v3 ^= word;
    Round();
    Round();
    v0 ^= word;
  }
};

// Up to eight bytes, least significant first.
uint64_t WordOf(std::span<const std::byte> bytes) {
  uint64_t word = 0;
  for (size_t i = 0; i < bytes.size(); ++i) word |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  return word;
}

}  // namespace

uint64_t SipHash(const SipHashKey& key, uint64_t first, std::span<const std::byte> bytes) {
  SipState state = {.v0 = key[0] ^ 0x736f6d6570736575u,
                    .v1 = key[1] ^ 0x646f72616e646f6du,
                    .v2 = key[0] ^ 0x6c7967656e657261u,
                    .v3 = key[1] ^ 0x7465646279746573u};
  state.Absorb(first);
  const uint64_t length = sizeof(first) + bytes.size();
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) state.Absorb(WordOf(bytes.first(8)));
  state.Absorb(WordOf(bytes) | length << 56);
  state.v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) state.Round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

PageHash RandomlyKeyedPageHash() {
  std::random_device random;
  SipHashKey key;
  for (uint64_t& word : key) word = uint64_t{random()} << 32 | random();
  return [key](uint64_t before, std::span<const std::byte> bytes) { return SipHash(key, before, bytes); };
}

}  // namespace switchyard
