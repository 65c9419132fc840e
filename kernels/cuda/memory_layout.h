// Where a GPU's memory goes, to the byte: the CUDA backend allocates by these functions, and PlanningBackend
// (kernels/planning_backend.h) counts by them, so that a plan made before loading is what is then taken.
//
// All memory of a rank comes from one arena, served in order of the calls without gaps but for alignment, and never
// returned before the backend ends. Plain C++: no CUDA headers, no GPU.
#pragma once

#include <cstddef>

#include "kernels/backend.h"
#include "kernels/weights.h"

namespace switchyard::cuda {

// Of every allocation within the arena, and of the arena.
constexpr size_t kAlignment = 256;
constexpr size_t AlignedBytes(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// What a matrix [out_features, in_features] holds: where dense in `stored`, whatever the checkpoint's type; where
// quantised what quantized_matrix.h says. Not yet aligned.
size_t MatrixBytes(const MatrixSpec& spec, DType stored);

// The experts of one layer are two allocations, in each of which they follow each other evenly spaced.
struct ExpertLayout {
  size_t gate_up_bytes = 0;         // [num_experts, 2 * intermediate, hidden]; where quantised a table at the end
  size_t down_bytes = 0;            // [num_experts, hidden, intermediate]; the same
  size_t gate_up_expert_bytes = 0;  // from one expert to the next
  size_t down_expert_bytes = 0;
};
ExpertLayout MakeExpertLayout(const ExpertWeightsSpec& spec, DType stored);
// What both allocations take from the arena.
size_t ExpertWeightsBytes(const ExpertWeightsSpec& spec, DType stored);

// The same with ExpertOffload (kernels/backend.h): places for some experts, and a list of who has which, take device
// memory; all experts, pinned host memory.
struct OffloadedBytes {
  size_t device = 0;
  size_t host = 0;
};
OffloadedBytes OffloadedExpertBytes(const ExpertWeightsSpec& spec, int64_t num_places, DType stored);

// cuBLASLt's workspace. NVIDIA recommends 32 MiB for Hopper and newer, and 4 MiB before (cuBLAS documentation,
// cublasSetWorkspace); one size for all keeps a plan independent of the card.
constexpr size_t kGemmWorkspaceBytes = size_t{32} << 20;
// Parameters of one call of Sample or Score, and the answers to it. A call with more is an error of the backend's user.
constexpr size_t kSamplingParamsBytes = size_t{4} << 20;
constexpr size_t kSamplingResultsBytes = size_t{1} << 20;
// Rotary frequencies and other constants of the model.
constexpr size_t kConstantsBytes = size_t{64} << 10;
// RouteScratchBytes (router.h) of the most experts that the router takes, 512.
constexpr size_t kRouterScratchBytes = size_t{4} * 1024 * (512 + 1);

// What Backend::Reserve takes: one allocation, divided.
struct ScratchLayout {
  struct Part {
    size_t offset = 0;  // a multiple of kAlignment
    size_t bytes = 0;
  };
  Part attention;
  Part router;
  Part experts;
  Part sampling;
  Part sampling_params;
  Part sampling_results;
  Part gemm_workspace;
  Part constants;
  size_t total_bytes = 0;
};
ScratchLayout MakeScratchLayout(const BackendLimits& limits, DType activation);

}  // namespace switchyard::cuda
