#include "engine/model/step_index.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"

namespace switchyard {
namespace {

absl::StatusOr<ConstTensorView> Upload(std::span<const int32_t> host, Tensor& tensor, Backend& backend) {
  const int64_t size = static_cast<int64_t>(host.size());
  TensorView device(tensor.view().data(), DType::kInt32, Shape{size});
  CHECK_LE(size, tensor.view().num_elements());
  absl::Status status = backend.CopyFromHost(ConstTensorView::Of(host), device);
  if (!status.ok()) return status;
  return ConstTensorView(device);
}

}  // namespace

absl::StatusOr<StepIndex> StepIndex::Create(const StepIndexLimits& limits, Backend& backend) {
  StepIndex index;
  const std::pair<Tensor*, int64_t> tensors[] = {
      {&index.positions_, limits.max_tokens},
      {&index.token_sequence_, limits.max_tokens},
      {&index.sequence_begin_, limits.max_sequences + 1},
      {&index.page_table_, limits.max_sequences * limits.max_pages_per_sequence},
      {&index.residual_ids_, limits.max_tokens},
  };
  for (const auto& [tensor, size] : tensors) {
    absl::StatusOr<Tensor> allocated = backend.AllocateTensor(DType::kInt32, Shape{size});
    if (!allocated.ok()) return allocated.status();
    *tensor = *std::move(allocated);
  }
  return index;
}

absl::Status StepIndex::Fill(const Batch& batch, const StepLayout& layout, Backend& backend) {
  host_positions_.clear();
  host_token_sequence_.clear();
  host_sequence_begin_.assign(1, 0);
  attention_.max_context = 0;
  int64_t max_pages = 1;
  for (int64_t s = layout.sequences.begin; s < layout.sequences.end; ++s) {
    max_pages = std::max<int64_t>(max_pages, batch.sequences[s].num_pages);
  }
  host_page_table_.assign(static_cast<size_t>(layout.sequences.size() * max_pages), -1);

  for (int64_t s = layout.sequences.begin; s < layout.sequences.end; ++s) {
    const BatchSequence& sequence = batch.sequences[s];
    const int64_t local = s - layout.sequences.begin;
    for (int32_t i = 0; i < sequence.num_tokens; ++i) {
      host_positions_.push_back(sequence.position + i);
      host_token_sequence_.push_back(static_cast<int32_t>(local));
    }
    host_sequence_begin_.push_back(static_cast<int32_t>(host_positions_.size()));
    std::copy_n(batch.pages.begin() + sequence.page_begin, sequence.num_pages,
                host_page_table_.begin() + local * max_pages);
    attention_.max_context = std::max<int64_t>(attention_.max_context, sequence.position + sequence.num_tokens);
  }
  CHECK_EQ(static_cast<int64_t>(host_positions_.size()), layout.attention.size());

  struct Item {
    std::span<const int32_t> host;
    Tensor* tensor;
    ConstTensorView* view;
  };
  const std::span<const int32_t> residual_ids(batch.tokens.data() + layout.residual.begin,
                                              static_cast<size_t>(layout.residual.size()));
  const Item items[] = {{host_positions_, &positions_, &attention_.positions},
                        {host_token_sequence_, &token_sequence_, &attention_.token_sequence},
                        {host_sequence_begin_, &sequence_begin_, &attention_.sequence_begin},
                        {host_page_table_, &page_table_, &attention_.page_table},
                        {residual_ids, &residual_ids_, &residual_ids_view_}};
  for (const Item& item : items) {
    absl::StatusOr<ConstTensorView> view = Upload(item.host, *item.tensor, backend);
    if (!view.ok()) return view.status();
    *item.view = *view;
  }
  attention_.page_table = attention_.page_table.Reshape(Shape{layout.sequences.size(), max_pages});
  return absl::OkStatus();
}

}  // namespace switchyard
