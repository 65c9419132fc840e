#include "parallel/exchange_buffers.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace switchyard {

absl::StatusOr<ExchangeBuffers> AllocateExchangeBuffers(const ExchangeShape& shape, int size, bool translate,
                                                        Backend& backend) {
  ExchangeBuffers buffers;
  const int64_t hidden = shape.hidden_size;
  const int64_t top_k = shape.top_k;
  const int64_t rank_tokens = shape.max_rank_tokens;
  const bool rows_stay = size == 1 || shape.all_reduce_only;
  const int64_t held = rows_stay ? shape.max_tokens : std::max(shape.max_tokens, size * rank_tokens);
  const int64_t sent = rank_tokens * std::min<int64_t>(top_k, size);
  const DType activation = backend.activation_dtype();

  struct Wanted {
    Tensor* tensor;
    DType dtype;
    Shape shape;
    bool needed_by_rows_that_stay;
  };
  const std::array wanted = {
      Wanted{&buffers.slots, DType::kInt32, {shape.max_tokens, top_k}, translate},
      Wanted{&buffers.sums, activation, {held, hidden}, true},
      Wanted{&buffers.rows, activation, {held, hidden}, false},
      Wanted{&buffers.row_slots, DType::kInt32, {held, top_k}, false},
      Wanted{&buffers.row_weights, DType::kFloat32, {held, top_k}, false},
      Wanted{&buffers.sent, activation, {sent, hidden}, false},
      Wanted{&buffers.sent_slots, DType::kInt32, {sent, top_k}, false},
      Wanted{&buffers.sent_weights, DType::kFloat32, {sent, top_k}, false},
      Wanted{&buffers.out, activation, {rank_tokens, hidden}, false},
      Wanted{&buffers.send_index, DType::kInt32, {sent}, false},
      Wanted{&buffers.sum_begin, DType::kInt32, {rank_tokens + 1}, false},
      Wanted{&buffers.sum_index, DType::kInt32, {sent}, false},
      Wanted{&buffers.send_counts, DType::kInt32, {size, 1}, false},
      Wanted{&buffers.recv_counts, DType::kInt32, {size, 1}, false},
      Wanted{&buffers.iota, DType::kInt32, {rank_tokens}, false},
      Wanted{&buffers.no_slots, DType::kInt32, {rank_tokens, top_k}, false},
  };
  for (const Wanted& want : wanted) {
    if (rows_stay && !want.needed_by_rows_that_stay) continue;
    absl::StatusOr<Tensor> tensor = backend.AllocateTensor(want.dtype, want.shape);
    if (!tensor.ok()) {
      return absl::Status(tensor.status().code(),
                          absl::StrCat("expert exchange buffers for ", shape.max_tokens, " tokens of width ", hidden,
                                       " over ", size, " ranks: ", tensor.status().message()));
    }
    *want.tensor = *std::move(tensor);
  }
  if (rows_stay) return buffers;

  std::vector<int32_t> iota(rank_tokens);
  std::iota(iota.begin(), iota.end(), 0);
  const std::vector<int32_t> no_slots(rank_tokens * top_k, -1);
  absl::Status status = backend.CopyFromHost(ConstTensorView::Of(std::span<const int32_t>(iota)), buffers.iota.view());
  status.Update(backend.CopyFromHost(ConstTensorView::Of(std::span<const int32_t>(no_slots), {rank_tokens, top_k}),
                                     buffers.no_slots.view()));
  if (!status.ok()) return status;
  return buffers;
}

}  // namespace switchyard
