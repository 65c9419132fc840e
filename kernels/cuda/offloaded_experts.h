// A layer's experts in pinned host memory, and places on the GPU for some of them, filled on a stream of their own.
//
//   computing stream   permutation | products of who is there | wait | products of who has come | sum
//   copying stream              copy, copy | copies for the next layer ...
//
// A copy waits until the place's last expert has been multiplied, a product until its experts have come: all on the
// GPU. The host waits for the numbers of rows per expert.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/stall_clock.h"
#include "kernels/cuda/transfers.h"
#include "kernels/cuda/weights.h"
#include "kernels/expert_cache.h"

namespace switchyard::cuda {

// Matrices for filling are the host's. Of the rank's thread, but for filling. The backend's, which outlives it.
class OffloadedDeviceExperts final : public ExpertWeights {
 public:
  // `offload` applies to `spec`. RESOURCE_EXHAUSTED names the sizes, of host memory too.
  static absl::StatusOr<std::unique_ptr<OffloadedDeviceExperts>> Create(const ExpertWeightsSpec& spec,
                                                                        const ExpertOffload& offload,
                                                                        const WeightContext& context,
                                                                        cudaStream_t copies, Transfers& transfers);
  ~OffloadedDeviceExperts() override;
  // Null: `experts` are not offloaded.
  static const OffloadedDeviceExperts* FromOrNull(const ExpertWeights& experts) {
    return experts.is_offloaded() ? static_cast<const OffloadedDeviceExperts*>(&experts) : nullptr;
  }

  const ExpertWeightsSpec& spec() const override { return spec_; }
  Matrix& gate_up(int64_t local_expert) override { return *gate_up_.at(static_cast<size_t>(local_expert)); }
  Matrix& down(int64_t local_expert) override { return *down_.at(static_cast<size_t>(local_expert)); }

  bool is_offloaded() const override { return true; }
  void Prefetch(std::span<const int> experts) override;
  ExpertCacheStats offload_stats() const override;

  // DeviceExpertWeights or QuantizedDeviceExperts: as many experts as there are places.
  const ExpertWeights& places() const { return *places_; }
  // ExpertTurns (experts.h). The first error, of prefetches too. Where experts lie is not what they are, so that this
  // is const.
  absl::Status TakeTurns(const int32_t* offsets, const ExpertForecast& next,
                         const std::function<void(const int32_t*)>& multiply) const;

 private:
  // A place's bytes on the GPU, or an expert's on the host, in two parts.
  struct Parts {
    std::byte* gate_up = nullptr;
    std::byte* down = nullptr;
  };
  // What changes as experts come and go.
  struct State {
    explicit State(ExpertCache empty) : cache(std::move(empty)), arrived(static_cast<size_t>(cache.num_places())) {}

    ExpertCache cache;
    std::vector<cudaEvent_t> arrived;                                 // [num_places]: of the last copy into each
    std::vector<bool> is_coming = std::vector<bool>(arrived.size());  // computing has not waited for it yet
    cudaEvent_t computed = nullptr;                                   // the last product has read its place
    uint64_t bytes_copied = 0;
    absl::Status failure;
  };

  OffloadedDeviceExperts(const ExpertWeightsSpec& spec, int num_places, const WeightContext& context,
                         cudaStream_t copies, Transfers& transfers);
  absl::Status Allocate(const WeightContext& context);
  absl::Status CreateEvents();

  void Note(const absl::Status& status) const { state_->failure.Update(status); }
  std::vector<int> Needed(const int32_t* offsets) const;
  void Load(std::span<const ExpertCache::Load> loads) const;
  void Multiply(std::span<const int> experts, const std::function<void(const int32_t*)>& multiply) const;
  // The products of `experts`, which computing waits for if they are still coming.
  void MultiplyTogether(std::span<const int> experts, bool are_coming,
                        const std::function<void(const int32_t*)>& multiply) const;

  const ExpertWeightsSpec spec_;
  const cudaStream_t computing_;
  const cudaStream_t copying_;
  Transfers& transfers_;
  size_t gate_up_bytes_ = 0;  // of one expert
  size_t down_bytes_ = 0;
  std::unique_ptr<ExpertWeights> places_;
  std::vector<Parts> placed_;  // [num_places]
  Buffer expert_place_;        // int32 [num_experts] on the device: of the experts of one turn
  Buffer gate_up_host_;
  Buffer down_host_;
  std::vector<Parts> held_;                       // [num_experts]
  std::vector<std::unique_ptr<Matrix>> gate_up_;  // views of these
  std::vector<std::unique_ptr<Matrix>> down_;
  const std::unique_ptr<State> state_;
  const std::unique_ptr<StallClock> stalls_;
};

}  // namespace switchyard::cuda
