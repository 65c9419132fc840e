#include "kernels/cuda/experts_scratch.h"

#include "kernels/check.h"
#include "kernels/cuda/experts.h"

namespace switchyard::cuda {
namespace {

constexpr size_t kAlignment = 256;      // of the parts to each other
constexpr size_t kBaseAlignment = 16;   // of the kernels' widest access
constexpr size_t kActivationBytes = 2;  // bfloat16 or float16

// Without a base it only counts.
class Divider {
 public:
  explicit Divider(void* base) : base_(static_cast<std::byte*>(base)) {}

  template <typename T>
  void Take(int64_t count, size_t element_bytes, T** out) {
    *out = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += (static_cast<size_t>(count) * element_bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* const base_;
  size_t bytes_ = 0;
};

}  // namespace

ExpertsScratch DivideExpertsScratch(int64_t num_rows, int64_t top_k, int64_t hidden_size, int64_t intermediate_size,
                                    int64_t num_local_experts, void* base) {
  CHECK(reinterpret_cast<uintptr_t>(base) % kBaseAlignment == 0);
  ExpertsScratch scratch;
  ExpertPermutation& lists = scratch.permutation;
  lists.num_pairs = num_rows * top_k;
  lists.num_experts = num_local_experts;
  Divider divider(base);
  constexpr size_t kIndexBytes = sizeof(int32_t);
  divider.Take(lists.num_experts + 1, kIndexBytes, &lists.offsets);
  divider.Take(lists.num_pairs, kIndexBytes, &lists.entry_row);
  divider.Take(lists.num_pairs, sizeof(float), &lists.entry_weight);
  divider.Take(lists.num_pairs, kIndexBytes, &lists.place);
  divider.Take(lists.max_active_experts(), kIndexBytes, &lists.active_experts);
  divider.Take(lists.num_experts + 1, kIndexBytes, &lists.tile_begin);
  divider.Take(lists.max_tiles(), kIndexBytes, &lists.tile_expert);
  divider.Take(lists.num_chunks() * lists.num_experts, kIndexBytes, &lists.chunk_counts);
  // Without local experts neither is touched.
  const int64_t num_entries = num_local_experts > 0 ? lists.num_pairs : 0;
  divider.Take(num_entries * intermediate_size, kActivationBytes, &scratch.act);
  divider.Take(num_entries * hidden_size, kActivationBytes, &scratch.y);
  scratch.bytes = divider.bytes();
  return scratch;
}

size_t RunExpertsScratchBytes(int64_t max_rows, int64_t top_k, int64_t hidden_size, int64_t intermediate_size,
                              int64_t num_local_experts) {
  return DivideExpertsScratch(max_rows, top_k, hidden_size, intermediate_size, num_local_experts, nullptr).bytes;
}

}  // namespace switchyard::cuda
