#include "tests/emulation/kernel_launch.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <vector>

#include "kernels/check.h"
#include "tests/emulation/block_scheduler.h"
#include "tests/emulation/kernel_symbols.h"
#include "tests/emulation/runtime_state.h"

namespace switchyard::emulation {
namespace {

constexpr size_t kMaxSharedBytes = 99 * 1024;  // a block's most on sm_86, sm_89 and sm_120

struct Seed {
  uint64_t value;
  uint64_t generation;  // of SetEmulationSeed
};
std::mutex seed_mutex;
constinit Seed seed = {1, 0};

// A new seed for each launch of this OS thread.
uint64_t NextLaunchSeed() {
  static thread_local uint64_t generation = 0;
  static thread_local uint64_t num_launches = 0;
  Seed now;
  {
    std::lock_guard lock(seed_mutex);
    now = seed;
  }
  if (generation != now.generation) num_launches = 0;
  generation = now.generation;
  // SplitMix64's output function, so that seeds next to one another share nothing.
  uint64_t z = now.value * 0x9E3779B97F4A7C15u + ++num_launches * 0xD1342543DE82EF95u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

struct FreeBytes {
  void operator()(void* bytes) const { std::free(bytes); }
};
thread_local constinit void* dynamic_shared = nullptr;

#ifdef __SANITIZE_ADDRESS__
// There `__shared__` variables belong to the process, not to the OS thread (cuda_emulation.h).
std::mutex static_shared_mutex;
#endif

void RunGrid(const KernelLaunch& launch, const std::function<void()>& thread) {
  CHECK(current_thread == nullptr);  // no launches from kernels
#ifdef __SANITIZE_ADDRESS__
  std::lock_guard lock(static_shared_mutex);
#endif
  BlockScheduler& scheduler = BlockScheduler::Get();
  scheduler.Seed(NextLaunchSeed());
  void* bytes = nullptr;
  CHECK_EQ(posix_memalign(&bytes, 128, launch.shared_bytes), 0);
  const std::unique_ptr<void, FreeBytes> shared(bytes);
  dynamic_shared = bytes;
  const StaticSharedMemory static_shared(launch.kernel);

  std::vector<uint64_t> order(uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z);
  std::iota(order.begin(), order.end(), uint64_t{0});
  for (size_t left = order.size(); left > 0; --left) {
    std::swap(order[left - 1], order[scheduler.Random(left)]);
    const uint64_t block = order[left - 1];
    const uint64_t row = block / launch.grid.x;
    const uint3 index = {static_cast<unsigned>(block % launch.grid.x), static_cast<unsigned>(row % launch.grid.y),
                         static_cast<unsigned>(row / launch.grid.y)};
    if (launch.shared_bytes > 0) std::memset(bytes, 0xFF, launch.shared_bytes);
    static_shared.Poison();
    scheduler.RunBlock(launch, index, thread);
  }
  dynamic_shared = nullptr;
}

}  // namespace

cudaError_t LaunchKernel(const KernelLaunch& launch, cuda::Stream stream, std::function<void()> thread) {
  const dim3& grid = launch.grid;
  const dim3& block = launch.block;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads > BlockScheduler::kMaxThreads || block.z > 64 || grid.x > 0x7FFFFFFFu || grid.y > 65535 ||
      grid.z > 65535) {
    return SetLastError(cudaErrorInvalidConfiguration);
  }
  if (launch.shared_bytes > kMaxSharedBytes) {
    return SetLastError(cudaErrorInvalidValue);
  }
  return SetLastError(Enqueue(stream, [launch, thread = std::move(thread)] { RunGrid(launch, thread); }));
}

void* DynamicSharedMemory() { return dynamic_shared; }

void SetEmulationSeed(uint64_t value) {
  std::lock_guard lock(seed_mutex);
  seed = {value, seed.generation + 1};
}

uint64_t NumFiberSwitches() { return BlockScheduler::Get().num_switches(); }

}  // namespace switchyard::emulation
