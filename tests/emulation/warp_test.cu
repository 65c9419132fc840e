// Shuffles, votes and atomics against plain loops.
#include <gtest/gtest.h>

#include <random>

#include "kernels/cuda/launch.cuh"
#include "tests/kernels/cuda/device_vector.h"

namespace switchyard::cuda {
namespace {

constexpr uint32_t kAll = 0xFFFFFFFFu;

struct Shuffled {
  float index, exclusive_or, up, down;
};

__global__ void ShuffleAll(const float* in, const int* source, int width, int delta, Shuffled* out) {
  WaitForPrevious();
  const float value = in[threadIdx.x];
  out[threadIdx.x] = {__shfl_sync(kAll, value, source[threadIdx.x], width), __shfl_xor_sync(kAll, value, delta, width),
                      __shfl_up_sync(kAll, value, static_cast<unsigned>(delta), width),
                      __shfl_down_sync(kAll, value, static_cast<unsigned>(delta), width)};
}

TEST(Shuffle, EqualsALoopOverLanes) {
  std::mt19937 random(1);
  for (const int width : {2, 4, 8, 16, 32}) {
    for (int delta = 0; delta < width; ++delta) {
      std::vector<float> in(64);
      std::vector<int> source(64);
      for (float& value : in) value = std::uniform_real_distribution<float>(-1, 1)(random);
      for (int& lane : source) lane = static_cast<int>(random() % 32);
      const DeviceVector<Shuffled> out(64);
      const DeviceVector<float> device_in(in);
      const DeviceVector<int> device_source(source);
      Launch(ShuffleAll, LaunchShape{.grid = dim3(1), .block = dim3(64)}, TestStream(), device_in.data(),
             device_source.data(), width, delta, out.data());
      const std::vector<Shuffled> got = out.ToHost();
      for (int i = 0; i < 64; ++i) {
        const int first = i / width * width;
        const int place = i % width;
        EXPECT_EQ(got[i].index, in[first + source[i] % width]);
        EXPECT_EQ(got[i].exclusive_or, in[first + (place ^ delta)]);
        EXPECT_EQ(got[i].up, in[place >= delta ? i - delta : i]);
        EXPECT_EQ(got[i].down, in[place + delta < width ? i + delta : i]);
      }
    }
  }
}

struct Votes {
  uint32_t ballot;
  int any, all;
  uint32_t largest, smallest;
};

// Of a thread: those that vote 1 have values beyond 2^31.
__host__ __device__ uint32_t ValueOf(int vote, uint32_t thread) {
  return static_cast<uint32_t>(vote) << 31 | (thread * 37 % 101 + 1);
}

// The lower and the upper half of each warp vote apart.
__global__ void Vote(const int* in, Votes* out) {
  WaitForPrevious();
  const uint32_t mask = 0xFFFFu << (threadIdx.x & 16);
  const int predicate = in[threadIdx.x];
  const uint32_t value = ValueOf(predicate, threadIdx.x);
  out[threadIdx.x] = {__ballot_sync(mask, predicate), __any_sync(mask, predicate), __all_sync(mask, predicate),
                      __reduce_max_sync(mask, value), __reduce_min_sync(mask, value)};
}

TEST(Votes, CountTheLanesOfTheMaskOnly) {
  std::mt19937 random(2);
  for (const int percent : {0, 5, 50, 95, 100}) {
    std::vector<int> in(96);
    for (int& value : in) value = static_cast<int>(random() % 100) < percent ? 1 : 0;
    const DeviceVector<Votes> out(in.size());
    const DeviceVector<int> device_in(in);
    Launch(Vote, LaunchShape{.grid = dim3(1), .block = dim3(96)}, TestStream(), device_in.data(), out.data());
    const std::vector<Votes> got = out.ToHost();
    for (size_t i = 0; i < in.size(); ++i) {
      uint32_t ballot = 0;
      int count = 0;
      uint32_t largest = 0;
      uint32_t smallest = UINT32_MAX;
      for (size_t j = i / 16 * 16; j < i / 16 * 16 + 16; ++j) {
        ballot |= static_cast<uint32_t>(in[j]) << j % 32;
        count += in[j];
        largest = std::max(largest, ValueOf(in[j], static_cast<uint32_t>(j)));
        smallest = std::min(smallest, ValueOf(in[j], static_cast<uint32_t>(j)));
      }
      EXPECT_EQ(got[i].ballot, ballot);
      EXPECT_EQ(got[i].any != 0, count > 0);
      EXPECT_EQ(got[i].all != 0, count == 16);
      EXPECT_EQ(got[i].largest, largest);
      EXPECT_EQ(got[i].smallest, smallest);
    }
  }
}

struct Totals {
  int count, largest, smallest, last, locked_count, lock;
  unsigned bits;
  float sum;
};

__global__ void UpdateAll(const int* in, Totals* totals) {
  WaitForPrevious();
  const int value = in[blockIdx.x * blockDim.x + threadIdx.x];
  atomicAdd(&totals->count, 1);
  atomicMax(&totals->largest, value);
  atomicMin(&totals->smallest, value);
  atomicExch(&totals->last, value);
  atomicAdd(&totals->bits, static_cast<unsigned>(value));
  atomicAdd(&totals->sum, static_cast<float>(value));
  while (atomicCAS(&totals->lock, 0, 1) != 0) {
  }
  totals->locked_count = totals->locked_count + 1;
  __threadfence();
  atomicExch(&totals->lock, 0);
}

TEST(Atomics, LoseNoUpdate) {
  std::vector<int> in(4 * 50);
  std::mt19937 random(3);
  unsigned sum = 0;
  for (int& value : in) sum += static_cast<unsigned>(value = static_cast<int>(random() % 1000) + 10);
  const DeviceVector<int> device_in(in);
  const DeviceVector<Totals> totals(std::vector<Totals>{{0, 0, 1 << 30, 0, 0, 0, 0, 0}});
  Launch(UpdateAll, LaunchShape{.grid = dim3(4), .block = dim3(50)}, TestStream(), device_in.data(), totals.data());
  const Totals got = totals.ToHost()[0];
  EXPECT_EQ(got.count, 200);
  EXPECT_EQ(got.locked_count, 200);
  EXPECT_EQ(got.largest, *std::max_element(in.begin(), in.end()));
  EXPECT_EQ(got.smallest, *std::min_element(in.begin(), in.end()));
  EXPECT_NE(std::find(in.begin(), in.end(), got.last), in.end());
  EXPECT_EQ(got.bits, sum);
  EXPECT_EQ(got.sum, static_cast<float>(sum));
}

__global__ void StoreIndices(dim3* out) {
  WaitForPrevious();
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] =
      dim3(blockIdx.x * 100 + threadIdx.x, blockIdx.y * 100 + threadIdx.y, blockIdx.z * 100 + threadIdx.z);
}

TEST(Indices, CoverGridAndBlockOnce) {
  const dim3 grid(3, 2, 4);
  const dim3 block(5, 3, 2);
  const DeviceVector<dim3> out(24 * 30);
  Launch(StoreIndices, LaunchShape{.grid = grid, .block = block}, TestStream(), out.data());
  const std::vector<dim3> got = out.ToHost();
  for (unsigned i = 0; i < got.size(); ++i) {
    const unsigned b = i / 30;
    const unsigned t = i % 30;
    EXPECT_EQ(got[i].x, b % 3 * 100 + t % 5);
    EXPECT_EQ(got[i].y, b / 3 % 2 * 100 + t / 5 % 3);
    EXPECT_EQ(got[i].z, b / 6 * 100 + t / 15);
  }
}

}  // namespace
}  // namespace switchyard::cuda
