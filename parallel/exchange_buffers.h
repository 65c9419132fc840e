// The device memory of an ExpertExchange; expert_exchange.cc is its only user.
#pragma once

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/device.h"
#include "parallel/expert_exchange.h"

namespace switchyard {

// "Held rows" are those that a rank has after dispatch, "sent rows" those that it sends in one, "rank tokens" its own.
struct ExchangeBuffers {
  // Experts as slots, where the two differ; int32 [tokens, top_k].
  Tensor slots;
  // What the rank holds after dispatch.
  Tensor rows;         // [held rows, hidden]
  Tensor row_slots;    // int32 [held rows, top_k]
  Tensor row_weights;  // float32 [held rows, top_k]
  Tensor sums;         // [held rows, hidden]
  // Rows on their way out; on the way back, the sums that return for them.
  Tensor sent;          // [sent rows, hidden]
  Tensor sent_slots;    // int32 [sent rows, top_k]
  Tensor sent_weights;  // float32 [sent rows, top_k]
  Tensor out;           // [rank tokens, hidden]
  // The plan.
  Tensor send_index;   // int32 [sent rows]
  Tensor sum_begin;    // int32 [rank tokens + 1]
  Tensor sum_index;    // int32 [sent rows]
  Tensor send_counts;  // int32 [size, 1]
  Tensor recv_counts;  // int32 [size, 1]
  // Constants, with which GatherRows copies and pads.
  Tensor iota;      // int32 [rank tokens]: 0, 1, 2, ...
  Tensor no_slots;  // int32 [rank tokens, top_k]: -1
};

// For `size` ranks; `translate`: experts and slots differ. `shape` has both of its token limits set. With one rank, or
// with all_reduce alone, only what is used then. RESOURCE_EXHAUSTED says what the buffers were for.
absl::StatusOr<ExchangeBuffers> AllocateExchangeBuffers(const ExchangeShape& shape, int size, bool translate,
                                                        Backend& backend);

}  // namespace switchyard
