#include "engine/model/expert_forecaster.h"

#include <algorithm>
#include <span>
#include <utility>

namespace switchyard {

ExpertForecaster::ExpertForecaster(const RankContext& rank)
    : rank_(&rank), slot_of_expert_(static_cast<size_t>(rank.spec.num_experts), -1) {
  for (size_t slot = 0; slot < rank.local_experts.size(); ++slot) {
    slot_of_expert_[static_cast<size_t>(rank.local_experts[slot])] = static_cast<int>(slot);
  }
}

absl::StatusOr<ExpertForecaster> ExpertForecaster::Create(const RankContext& rank, int64_t max_rows) {
  ExpertForecaster forecaster(rank);
  absl::Status status;
  const auto allocate = [&](DType dtype, Shape shape, Tensor& tensor) {
    if (!status.ok()) return;
    absl::StatusOr<Tensor> allocated = rank.backend.AllocateTensor(dtype, shape);
    if (!allocated.ok()) {
      status = allocated.status();
      return;
    }
    tensor = *std::move(allocated);
  };
  allocate(DType::kInt32, Shape{max_rows, rank.spec.experts_per_token}, forecaster.experts_);
  allocate(DType::kFloat32, Shape{max_rows, rank.spec.experts_per_token}, forecaster.weights_);
  allocate(DType::kInt32, Shape{rank.spec.num_experts}, forecaster.counts_);
  if (!status.ok()) return status;
  return forecaster;
}

absl::StatusOr<ExpertForecast> ExpertForecaster::Forecast(const LayerWeights& next, const DispatchedRows& rows) {
  if (!next.experts->is_offloaded()) return ExpertForecast();
  const int64_t num_rows = std::min(rows.rows.dim(0), experts_.view().dim(0));
  Backend& backend = rank_->backend;
  const TensorView experts = experts_.Top(num_rows);
  backend.Clear(counts_.view());
  backend.Route(rank_->router(), rows.rows.Rows(0, num_rows), *next.router, ConstTensorView(),
                {.experts = experts, .weights = weights_.Top(num_rows), .counts = counts_.view()});
  const auto to_host = [&backend](ConstTensorView device, std::vector<int32_t>& host) {
    host.resize(static_cast<size_t>(device.num_elements()));
    return backend.CopyToHost(device, TensorView::Of(std::span<int32_t>(host), device.shape()));
  };
  absl::Status status = to_host(experts, experts_host_);
  if (status.ok()) status = to_host(rows.slots.Rows(0, num_rows), slots_host_);
  if (!status.ok()) return status;
  RankLikely();
  return ExpertForecast{.experts = next.experts.get(), .likely = likely_};
}

void ExpertForecaster::RankLikely() {
  const auto top_k = static_cast<size_t>(rank_->spec.experts_per_token);
  votes_.assign(rank_->local_experts.size(), 0);
  for (size_t row = 0; row < slots_host_.size(); row += top_k) {
    // A row that no rank's experts are given is padding.
    const auto begin = slots_host_.begin() + static_cast<int64_t>(row);
    if (std::all_of(begin, begin + static_cast<int64_t>(top_k), [](int32_t slot) { return slot < 0; })) continue;
    for (size_t k = row; k < row + top_k; ++k) {
      const int slot = experts_host_[k] < 0 ? -1 : slot_of_expert_[static_cast<size_t>(experts_host_[k])];
      if (slot >= 0) ++votes_[static_cast<size_t>(slot)];
    }
  }
  likely_.clear();
  for (size_t slot = 0; slot < votes_.size(); ++slot) {
    if (votes_[slot] > 0) likely_.push_back(static_cast<int>(slot));
  }
  std::stable_sort(likely_.begin(), likely_.end(),
                   [this](int a, int b) { return votes_[static_cast<size_t>(a)] > votes_[static_cast<size_t>(b)]; });
}

}  // namespace switchyard
