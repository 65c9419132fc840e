#include "engine/page_hash.h"

#include <gtest/gtest.h>

#include <vector>

namespace switchyard {
namespace {

std::vector<std::byte> Counting(size_t begin, size_t end) {
  std::vector<std::byte> bytes;
  for (size_t i = begin; i < end; ++i) bytes.push_back(static_cast<std::byte>(i));
  return bytes;
}

// The example of the paper's appendix A: key 00 01 ... 0f, message 00 01 ... 0e.
TEST(SipHash, GivesThePapersExample) {
  const SipHashKey key = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
  EXPECT_EQ(SipHash(key, 0x0706050403020100u, Counting(8, 15)), 0xa129ca6149be45e5u);
}

TEST(SipHash, DependsOnEveryPartOfKeyAndMessage) {
  const SipHashKey key = {1, 2};
  const uint64_t hash = SipHash(key, 3, Counting(0, 16));
  EXPECT_NE(SipHash({2, 2}, 3, Counting(0, 16)), hash);
  EXPECT_NE(SipHash({1, 3}, 3, Counting(0, 16)), hash);
  EXPECT_NE(SipHash(key, 4, Counting(0, 16)), hash);
  EXPECT_NE(SipHash(key, 3, Counting(0, 15)), hash);
  for (size_t i = 0; i < 16; ++i) {
    std::vector<std::byte> other = Counting(0, 16);
    other[i] ^= std::byte{0x80};
    EXPECT_NE(SipHash(key, 3, other), hash);
  }
}

TEST(RandomlyKeyedPageHash, DrawsAnotherKeyEachTimeAndKeepsIt) {
  const PageHash hash = RandomlyKeyedPageHash();
  EXPECT_EQ(hash(1, Counting(0, 8)), hash(1, Counting(0, 8)));
  EXPECT_NE(hash(1, Counting(0, 8)), RandomlyKeyedPageHash()(1, Counting(0, 8)));
}

}  // namespace
}  // namespace switchyard
