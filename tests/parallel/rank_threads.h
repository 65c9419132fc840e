// Runs a test's body as each rank of a group, one thread per rank.
#pragma once

#include <functional>
#include <thread>
#include <vector>

namespace switchyard {

inline void RunRanks(int size, const std::function<void(int rank)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) threads.emplace_back(body, rank);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace switchyard
