// What pages of the prefix cache are looked up by.
//
// SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) under a key that each process draws for
// itself: who sends prompts can neither compute nor aim for a collision. A collision would cost a cache hit, never a
// mistake, since PrefixCache compares what it finds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace switchyard {

using SipHashKey = std::array<uint64_t, 2>;

// Of the eight bytes of `first`, least significant first, and `bytes` behind them.
uint64_t SipHash(const SipHashKey& key, uint64_t first, std::span<const std::byte> bytes);

// Hash of a page's token ids (or, where a chain begins, of the salt) and of all that lies before it.
using PageHash = std::function<uint64_t(uint64_t before, std::span<const std::byte> bytes)>;

// SipHash under a key from the system's source of randomness.
PageHash RandomlyKeyedPageHash();

}  // namespace switchyard
