#include "parallel/expert_exchange.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"
#include "parallel/exchange_buffers.h"
#include "parallel/exchange_plan.h"

namespace switchyard {
namespace {

class DefaultExpertExchange final : public ExpertExchange {
 public:
  DefaultExpertExchange(const ExchangeShape& shape, Backend& backend, Communicator& communicator,
                        const ExpertPlacement& placement)
      : shape_(shape),
        backend_(backend),
        communicator_(communicator),
        placement_(placement),
        size_(communicator.size()),
        translate_(!placement.SlotsAreExperts()),
        host_counts_(size_),
        recv_rows_(size_) {}

  absl::Status Allocate() {
    host_slots_.reserve(shape_.max_tokens * shape_.top_k);
    absl::StatusOr<ExchangeBuffers> buffers = AllocateExchangeBuffers(shape_, size_, translate_, backend_);
    if (!buffers.ok()) return buffers.status();
    buffers_ = *std::move(buffers);
    return absl::OkStatus();
  }

  absl::StatusOr<DispatchedRows> Dispatch(ExchangeStrategy strategy, ConstTensorView tokens, ConstTensorView experts,
                                          ConstTensorView weights, int64_t max_rank_tokens) override;
  absl::StatusOr<TensorView> Combine() override;
  int64_t max_rows() const override { return buffers_.sums.view().dim(0); }
  uint64_t bytes_sent() const override { return bytes_sent_; }

 private:
  // Which way Combine goes.
  enum class Pending { kNothing, kLocal, kAllToAll, kAllGather, kAllReduce };

  absl::StatusOr<ConstTensorView> ToSlots(ConstTensorView experts);
  absl::StatusOr<DispatchedRows> DispatchLocal(ConstTensorView tokens, ConstTensorView slots, ConstTensorView weights);
  absl::StatusOr<DispatchedRows> DispatchAllToAll(ConstTensorView tokens, ConstTensorView slots,
                                                  ConstTensorView weights);
  absl::StatusOr<DispatchedRows> DispatchAllGather(ConstTensorView tokens, ConstTensorView slots,
                                                   ConstTensorView weights);
  absl::Status UploadPlan();
  absl::Status ExchangeCounts();
  absl::StatusOr<TensorView> CombineAllToAll();
  absl::StatusOr<TensorView> CombineAllGather();

  // `num_rows` rows of activations, with or without their slots and weights, go to one other rank or to several.
  void CountSent(int64_t num_rows, bool with_routing) {
    const size_t row = static_cast<size_t>(shape_.hidden_size) * SizeOf(backend_.activation_dtype());
    const size_t routing = static_cast<size_t>(shape_.top_k) * (sizeof(int32_t) + sizeof(float));
    bytes_sent_ += static_cast<uint64_t>(num_rows) * (row + (with_routing ? routing : 0));
  }
  // dst = src, row by row.
  void CopyRows(ConstTensorView src, TensorView dst) { backend_.GatherRows(src, buffers_.iota.Top(src.dim(0)), dst); }
  DispatchedRows HeldRows(int64_t n) {
    return {buffers_.rows.Top(n), buffers_.row_slots.Top(n), buffers_.row_weights.Top(n), buffers_.sums.Top(n)};
  }

  // Constant after construction.
  const ExchangeShape shape_;
  Backend& backend_;
  Communicator& communicator_;
  const ExpertPlacement& placement_;
  const int size_;
  const bool translate_;

  ExchangeBuffers buffers_;
  std::vector<int32_t> host_slots_;
  std::vector<int32_t> host_counts_;
  uint64_t bytes_sent_ = 0;

  // Of the step between Dispatch and Combine.
  Pending pending_ = Pending::kNothing;
  int64_t num_tokens_ = 0;
  int64_t max_rank_tokens_ = 0;
  ExchangePlan plan_;
  std::vector<int64_t> recv_rows_;
};

absl::StatusOr<DispatchedRows> DefaultExpertExchange::Dispatch(ExchangeStrategy strategy, ConstTensorView tokens,
                                                               ConstTensorView experts, ConstTensorView weights,
                                                               int64_t max_rank_tokens) {
  CHECK(pending_ == Pending::kNothing);
  num_tokens_ = tokens.dim(0);
  max_rank_tokens_ = max_rank_tokens;
  CHECK_EQ(tokens.dim(1), shape_.hidden_size);
  CHECK(experts.shape() == (Shape{num_tokens_, shape_.top_k}));
  CHECK(weights.shape() == experts.shape());
  CHECK_LE(num_tokens_, max_rank_tokens);
  const bool replicated = strategy == ExchangeStrategy::kAllReduce || size_ == 1;
  CHECK(replicated || !shape_.all_reduce_only);
  CHECK_LE(max_rank_tokens, replicated ? shape_.max_tokens : shape_.max_rank_tokens);

  const absl::StatusOr<ConstTensorView> slots = ToSlots(experts);
  if (!slots.ok()) return slots.status();
  if (size_ == 1) {
    pending_ = Pending::kLocal;
    return DispatchLocal(tokens, *slots, weights);
  }
  switch (strategy) {
    case ExchangeStrategy::kAllToAll:
      return DispatchAllToAll(tokens, *slots, weights);
    case ExchangeStrategy::kAllGather:
      return DispatchAllGather(tokens, *slots, weights);
    case ExchangeStrategy::kAllReduce:
      pending_ = Pending::kAllReduce;
      return DispatchLocal(tokens, *slots, weights);
  }
  return absl::InvalidArgumentError("no such exchange strategy");
}

absl::StatusOr<ConstTensorView> DefaultExpertExchange::ToSlots(ConstTensorView experts) {
  if (!translate_) return experts;
  host_slots_.resize(experts.num_elements());
  absl::Status status = backend_.CopyToHost(experts, TensorView::Of(std::span<int32_t>(host_slots_), experts.shape()));
  if (!status.ok()) return status;
  for (size_t i = 0; i < host_slots_.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) / shape_.top_k;
    if (host_slots_[i] >= 0) host_slots_[i] = placement_.SlotFor(host_slots_[i], row);
  }
  const TensorView slots = buffers_.slots.Top(experts.dim(0));
  status = backend_.CopyFromHost(ConstTensorView::Of(std::span<const int32_t>(host_slots_), experts.shape()), slots);
  if (!status.ok()) return status;
  return slots;
}

absl::StatusOr<DispatchedRows> DefaultExpertExchange::DispatchLocal(ConstTensorView tokens, ConstTensorView slots,
                                                                    ConstTensorView weights) {
  return DispatchedRows{tokens, slots, weights, buffers_.sums.Top(num_tokens_)};
}

absl::StatusOr<DispatchedRows> DefaultExpertExchange::DispatchAllToAll(ConstTensorView tokens, ConstTensorView slots,
                                                                       ConstTensorView weights) {
  host_slots_.resize(slots.num_elements());
  absl::Status status = backend_.CopyToHost(slots, TensorView::Of(std::span<int32_t>(host_slots_), slots.shape()));
  if (!status.ok()) return status;
  plan_ = ExchangePlan::Build(host_slots_, shape_.top_k, placement_, std::move(plan_));
  status = UploadPlan();
  status.Update(ExchangeCounts());
  if (!status.ok()) return status;

  const int64_t num_sent = plan_.num_sent_rows();
  const int64_t num_held = std::accumulate(recv_rows_.begin(), recv_rows_.end(), int64_t{0});
  if (num_held > buffers_.rows.view().dim(0)) {
    return absl::InternalError(absl::StrCat("expert exchange: rank ", communicator_.rank(), " is to receive ", num_held,
                                            " rows; its buffers were made for ", buffers_.rows.view().dim(0)));
  }
  const ConstTensorView index = buffers_.send_index.Top(num_sent);
  backend_.GatherRows(tokens, index, buffers_.sent.Top(num_sent));
  backend_.GatherRows(slots, index, buffers_.sent_slots.Top(num_sent));
  backend_.GatherRows(weights, index, buffers_.sent_weights.Top(num_sent));
  const std::array<Transfer, 3> transfers = {
      Transfer{buffers_.sent.Top(num_sent), buffers_.rows.Top(num_held)},
      Transfer{buffers_.sent_slots.Top(num_sent), buffers_.row_slots.Top(num_held)},
      Transfer{buffers_.sent_weights.Top(num_sent), buffers_.row_weights.Top(num_held)}};
  status = communicator_.AllToAllRowsGroup(transfers, plan_.send_rows(), recv_rows_);
  if (!status.ok()) return status;
  CountSent(num_sent - plan_.send_rows()[communicator_.rank()], /*with_routing=*/true);
  pending_ = Pending::kAllToAll;
  return HeldRows(num_held);
}

absl::Status DefaultExpertExchange::UploadPlan() {
  const int64_t num_sent = plan_.num_sent_rows();
  absl::Status status =
      backend_.CopyFromHost(ConstTensorView::Of(plan_.send_index()), buffers_.send_index.Top(num_sent));
  status.Update(backend_.CopyFromHost(ConstTensorView::Of(plan_.sum_begin()), buffers_.sum_begin.Top(num_tokens_ + 1)));
  status.Update(backend_.CopyFromHost(ConstTensorView::Of(plan_.sum_index()), buffers_.sum_index.Top(num_sent)));
  return status;
}

// Tells every rank how many rows it will receive from this one, and learns the same from them.
absl::Status DefaultExpertExchange::ExchangeCounts() {
  const Shape shape = {size_, 1};
  std::copy(plan_.send_rows().begin(), plan_.send_rows().end(), host_counts_.begin());
  absl::Status status = backend_.CopyFromHost(ConstTensorView::Of(std::span<const int32_t>(host_counts_), shape),
                                              buffers_.send_counts.view());
  if (!status.ok()) return status;
  std::fill(recv_rows_.begin(), recv_rows_.end(), 1);
  status = communicator_.AllToAllRows(buffers_.send_counts.view(), recv_rows_, buffers_.recv_counts.view(), recv_rows_);
  if (!status.ok()) return status;
  status = backend_.CopyToHost(buffers_.recv_counts.view(), TensorView::Of(std::span<int32_t>(host_counts_), shape));
  std::copy(host_counts_.begin(), host_counts_.end(), recv_rows_.begin());
  return status;
}

absl::StatusOr<DispatchedRows> DefaultExpertExchange::DispatchAllGather(ConstTensorView tokens, ConstTensorView slots,
                                                                        ConstTensorView weights) {
  const int64_t block = max_rank_tokens_;
  std::array<Transfer, 3> transfers = {Transfer{tokens, buffers_.rows.Top(size_ * block)},
                                       Transfer{slots, buffers_.row_slots.Top(size_ * block)},
                                       Transfer{weights, buffers_.row_weights.Top(size_ * block)}};
  if (num_tokens_ < block) {
    // Padding rows keep whatever the buffer holds; their slots say that no expert is to look at them.
    CopyRows(tokens, buffers_.sent.Top(num_tokens_));
    CopyRows(slots, buffers_.sent_slots.Top(num_tokens_));
    CopyRows(buffers_.no_slots.Top(block - num_tokens_), buffers_.sent_slots.view().Rows(num_tokens_, block));
    CopyRows(weights, buffers_.sent_weights.Top(num_tokens_));
    transfers[0].send = buffers_.sent.Top(block);
    transfers[1].send = buffers_.sent_slots.Top(block);
    transfers[2].send = buffers_.sent_weights.Top(block);
  }
  const absl::Status status = communicator_.AllGatherGroup(transfers);
  if (!status.ok()) return status;
  CountSent((size_ - 1) * block, /*with_routing=*/true);
  pending_ = Pending::kAllGather;
  return HeldRows(size_ * block);
}

absl::StatusOr<TensorView> DefaultExpertExchange::Combine() {
  switch (std::exchange(pending_, Pending::kNothing)) {
    case Pending::kNothing:
      break;
    case Pending::kLocal:
      return buffers_.sums.Top(num_tokens_);
    case Pending::kAllToAll:
      return CombineAllToAll();
    case Pending::kAllGather:
      return CombineAllGather();
    case Pending::kAllReduce: {
      const TensorView sums = buffers_.sums.Top(num_tokens_);
      const absl::Status status = communicator_.AllReduceSum(sums);
      if (!status.ok()) return status;
      CountSent((size_ - 1) * num_tokens_, /*with_routing=*/false);
      return sums;
    }
  }
  return absl::FailedPreconditionError("expert exchange: Combine without a Dispatch that succeeded");
}

absl::StatusOr<TensorView> DefaultExpertExchange::CombineAllToAll() {
  const int64_t num_sent = plan_.num_sent_rows();
  const int64_t num_held = std::accumulate(recv_rows_.begin(), recv_rows_.end(), int64_t{0});
  const TensorView returned = buffers_.sent.Top(num_sent);
  const absl::Status status =
      communicator_.AllToAllRows(buffers_.sums.Top(num_held), recv_rows_, returned, plan_.send_rows());
  if (!status.ok()) return status;
  CountSent(num_held - recv_rows_[communicator_.rank()], /*with_routing=*/false);
  const TensorView out = buffers_.out.Top(num_tokens_);
  backend_.SumRows(returned, buffers_.sum_begin.Top(num_tokens_ + 1), buffers_.sum_index.Top(num_sent), out);
  return out;
}

absl::StatusOr<TensorView> DefaultExpertExchange::CombineAllGather() {
  const TensorView out = buffers_.out.Top(max_rank_tokens_);
  const absl::Status status = communicator_.ReduceScatterSum(buffers_.sums.Top(size_ * max_rank_tokens_), out);
  if (!status.ok()) return status;
  CountSent((size_ - 1) * max_rank_tokens_, /*with_routing=*/false);
  return out.Rows(0, num_tokens_);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExpertExchange>> CreateExpertExchange(const ExchangeShape& shape, Backend& backend,
                                                                     Communicator& communicator,
                                                                     const ExpertPlacement& placement) {
  if (placement.num_ranks() != communicator.size()) {
    return absl::InvalidArgumentError(absl::StrCat("expert exchange: the placement is for ", placement.num_ranks(),
                                                   " ranks, the communicator has ", communicator.size()));
  }
  CHECK_GE(shape.hidden_size, 1);
  CHECK_GE(shape.top_k, 1);
  CHECK_GE(shape.max_tokens, 0);
  ExchangeShape full = shape;
  if (full.max_rank_tokens == 0) full.max_rank_tokens = full.max_tokens;
  CHECK_LE(full.max_rank_tokens, full.max_tokens);
  auto exchange = std::make_unique<DefaultExpertExchange>(full, backend, communicator, placement);
  const absl::Status status = exchange->Allocate();
  if (!status.ok()) return status;
  return exchange;
}

}  // namespace switchyard
