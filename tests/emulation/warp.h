// Warp collectives: every operation that lanes of a warp perform together goes through WarpCollective.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "tests/emulation/thread.h"

namespace switchyard::emulation {

inline constexpr uint32_t kAllLanes = 0xFFFFFFFFu;

// Computes for all lanes of `mask` at once; `operands[lane]` is what that lane gave, unset for lanes outside of it.
using CollectiveBody = void (*)(void* const* operands, uint32_t mask);

// Deposits `operand` (which also receives the lane's result), waits until every lane of `mask` has come to the
// collective of that name with that mask; the last one to come runs `body`. Aborts, naming the reason, if the caller is
// not in `mask`, or if a lane of `mask` does not exist, has exited, or waits in another collective.
void WarpCollective(uint32_t mask, const char* name, void* operand, CollectiveBody body);

[[noreturn]] void FaultShuffleSource(uint32_t mask, int lane, int source);

// Source lane of `lane` in a segment of `width` lanes; `lane` itself where the source falls outside of the segment.
enum class Shuffle { kIndex, kXor, kUp, kDown };
inline int ShuffleSource(Shuffle kind, int lane, int argument, int width) {
  const int first = lane & ~(width - 1);
  switch (kind) {
    case Shuffle::kIndex:
      return first | (argument & (width - 1));
    case Shuffle::kXor: {
      // As the hardware does: a source in an earlier segment may be read, one in a later segment may not.
      const int source = lane ^ argument;
      return source < first + width ? source : lane;
    }
    case Shuffle::kUp:
      return lane - argument >= first ? lane - argument : lane;
    case Shuffle::kDown:
      return lane + argument < first + width ? lane + argument : lane;
  }
  return lane;
}

template <typename T>
T ShuffleSync(Shuffle kind, const char* name, uint32_t mask, T value, int argument, int width) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  struct Lane {
    T value;
    T result;
    int source;
  } lane{value, value, ShuffleSource(kind, static_cast<int>(current_thread->lane), argument, width)};
  WarpCollective(mask, name, &lane, [](void* const* lanes, uint32_t mask) {
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      const int i = std::countr_zero(rest);
      Lane& to = *static_cast<Lane*>(lanes[i]);
      if ((mask >> to.source & 1u) == 0) FaultShuffleSource(mask, i, to.source);
      to.result = static_cast<const Lane*>(lanes[to.source])->value;
    }
  });
  return lane.result;
}

uint32_t Ballot(const char* name, uint32_t mask, bool predicate);

// Combine{}(a, b) over the values of all lanes of `mask`, for every one of them.
template <typename Combine>
uint32_t ReduceSync(const char* name, uint32_t mask, uint32_t value, Combine /*combine*/) {
  WarpCollective(mask, name, &value, [](void* const* lanes, uint32_t mask) {
    uint32_t result = *static_cast<const uint32_t*>(lanes[std::countr_zero(mask)]);
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      result = Combine{}(result, *static_cast<const uint32_t*>(lanes[std::countr_zero(rest)]));
    }
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      *static_cast<uint32_t*>(lanes[std::countr_zero(rest)]) = result;
    }
  });
  return value;
}

}  // namespace switchyard::emulation
