// A layer's experts in a memory-mapped file, and places in memory for some of them.
//
//   file     |e0|e1|e2|e3|e4|e5|e6|e7|      written once, by whoever fills the weights
//   places   |e4|e1|                        copies, made when experts are needed or likely to be
//
// An expert is one block in both: its matrices lie at the same offsets, so that to move it is to copy bytes, whatever
// their layout.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_experts.h"
#include "kernels/cpu/expert_copier.h"
#include "kernels/cpu/host_memory.h"
#include "kernels/expert_cache.h"

namespace switchyard {

// How a backend makes its matrices.
using MatrixFactory = absl::FunctionRef<absl::StatusOr<std::unique_ptr<Matrix>>(const MatrixSpec&, HostAllocator)>;

// Bytes of one expert's block, whole pages: a place, and its part of the file.
absl::StatusOr<size_t> OffloadedExpertBytes(const ExpertWeightsSpec& spec, MatrixFactory create);

// Matrices for filling are those of the file. Of the rank's thread, but for filling.
class OffloadedExperts final : public CpuExperts {
 public:
  // `offload` applies to `spec`. Borrows the copier, which must outlive this. Errors as CreateMappedFile's, or
  // RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<OffloadedExperts>> Create(const ExpertWeightsSpec& spec,
                                                                  const ExpertOffload& offload, MatrixFactory create,
                                                                  ExpertCopier& copier);
  ~OffloadedExperts() override;

  const ExpertWeightsSpec& spec() const override { return spec_; }
  Matrix& gate_up(int64_t local_expert) override { return *filed_[static_cast<size_t>(local_expert)].gate_up; }
  Matrix& down(int64_t local_expert) override { return *filed_[static_cast<size_t>(local_expert)].down; }
  const Matrix& gate_up(int64_t local_expert) const override { return *PlacedAt(local_expert).gate_up; }
  const Matrix& down(int64_t local_expert) const override { return *PlacedAt(local_expert).down; }

  bool is_offloaded() const override { return true; }
  void Prefetch(std::span<const int> experts) override;
  ExpertCacheStats offload_stats() const override;
  void ForEachPart(std::span<const int> needed, const ExpertForecast& next,
                   absl::FunctionRef<void(std::span<const int>)> compute) const override;

 private:
  // Both matrices in one block of memory.
  struct Block {
    const std::byte* data = nullptr;
    std::unique_ptr<Matrix> gate_up;
    std::unique_ptr<Matrix> down;
  };
  // What changes as experts come and go.
  struct Places {
    ExpertCache cache;
    std::vector<ExpertCopy> copies;  // [num_places], into each place the last
    ExpertCacheStats copied;         // bytes and stalls
  };

  OffloadedExperts(const ExpertWeightsSpec& spec, int num_places, ExpertCopier& copier);
  static absl::Status CreateBlocks(const ExpertWeightsSpec& spec, MatrixFactory create, const Buffer& memory,
                                   size_t block_bytes, std::vector<Block>& blocks);

  const Block& PlacedAt(int64_t local_expert) const;
  ExpertCopy& CopyOf(int expert) const;
  void Load(std::span<const ExpertCache::Load> loads, bool is_urgent) const;
  // Calls `compute` with those that are there already, then with the others one by one, as they come.
  void ComputeAsTheyCome(std::span<const int> experts, absl::FunctionRef<void(std::span<const int>)> compute) const;

  const ExpertWeightsSpec spec_;
  ExpertCopier& copier_;
  Buffer file_;
  Buffer memory_;
  std::vector<Block> filed_;   // [num_experts]
  std::vector<Block> placed_;  // [num_places]
  const std::unique_ptr<Places> places_;
};

}  // namespace switchyard
