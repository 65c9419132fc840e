#include "bench/gpu_kernel_cases.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

namespace switchyard {

std::vector<int64_t> Bounded(std::initializer_list<int64_t> sizes, int64_t bound) {
  std::vector<int64_t> bounded;
  for (const int64_t size : sizes) {
    bounded.push_back(std::min(size, bound));
    if (size >= bound) break;
  }
  return bounded;
}

int64_t BenchDevice::Sets(double bytes) const {
  const double wanted = std::ceil(static_cast<double>(eviction_bytes) / std::max(1.0, bytes));
  return static_cast<int64_t>(std::clamp(wanted, 1.0, static_cast<double>(max_sets)));
}

int64_t BenchDevice::ActivationSets(double bytes) const {
  constexpr int64_t kMaxSets = 8;
  return std::min(kMaxSets, Sets(bytes));
}

std::vector<int32_t> RandomOrder(int64_t count) {
  std::vector<int32_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  return order;
}

std::vector<int32_t> RandomSlots(int64_t rows, int64_t top_k, int64_t num_experts) {
  std::mt19937 random(1);
  std::vector<int32_t> experts(static_cast<size_t>(num_experts));
  std::iota(experts.begin(), experts.end(), 0);
  std::vector<int32_t> slots;
  slots.reserve(static_cast<size_t>(rows * top_k));
  for (int64_t row = 0; row < rows; ++row) {
    std::shuffle(experts.begin(), experts.end(), random);
    slots.insert(slots.end(), experts.begin(), experts.begin() + top_k);
  }
  return slots;
}

int64_t SlotSets(const BenchModel& model, int64_t rows, const BenchDevice& device) {
  return std::min<int64_t>(rows < 4 * model.num_experts ? 16 : 2, device.max_sets);
}

std::vector<float> RandomRouterWeights(int64_t pairs) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> weight(0.1f, 0.9f);
  std::vector<float> weights(static_cast<size_t>(pairs));
  for (float& value : weights) value = weight(random);
  return weights;
}

MeanLoad CountLoad(const std::vector<int32_t>& slots, int64_t num_sets, int64_t local_experts) {
  MeanLoad load;
  const auto pairs = static_cast<int64_t>(slots.size()) / num_sets;
  for (int64_t set = 0; set < num_sets; ++set) {
    std::set<int32_t> active;
    for (int64_t pair = set * pairs; pair < (set + 1) * pairs; ++pair) {
      const int32_t slot = slots[static_cast<size_t>(pair)];
      if (slot >= local_experts) continue;
      active.insert(slot);
      load.entries += 1;
    }
    load.active_experts += static_cast<double>(active.size());
  }
  load.active_experts /= static_cast<double>(num_sets);
  load.entries /= static_cast<double>(num_sets);
  return load;
}

}  // namespace switchyard
