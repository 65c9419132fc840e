// Carries tokens to the ranks that own their experts, and the weighted sums back.
// (The worked example of ARCHITECTURE.md stands here.)
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "parallel/communicator.h"
#include "parallel/exchange_strategy.h"
#include "parallel/expert_placement.h"

namespace switchyard {

// What a rank's experts work on after dispatch. Views into the exchange's buffers, valid until the next Dispatch.
struct DispatchedRows {
  ConstTensorView rows;     // [n, hidden]
  ConstTensorView slots;    // int32 [n, top_k]; slots of other ranks, or -1, are to be ignored (ExpertArgs)
  ConstTensorView weights;  // float32 [n, top_k]
  TensorView sums;          // [n, hidden]: for the caller to write the weighted sums of its local experts
};

struct ExchangeShape {
  int64_t hidden_size = 0;
  int64_t top_k = 0;
  int64_t max_tokens = 0;  // of all ranks together in one step; every buffer is allocated for it at creation
};

// One step's MoE layer: Dispatch, run the local experts, Combine. One object per rank serves all layers and
// strategies; a rank without tokens or without experts takes part all the same. Used by the rank's thread only.
class ExpertExchange {
 public:
  virtual ~ExpertExchange() = default;

  // tokens [t, hidden], experts int32 [t, top_k], weights float32 [t, top_k]: this rank's tokens (kAllToAll,
  // kAllGather) or all of them, the same on every rank (kAllReduce). `max_rank_tokens` is the largest t of all ranks.
  virtual absl::StatusOr<DispatchedRows> Dispatch(ExchangeStrategy strategy, ConstTensorView tokens,
                                                  ConstTensorView experts, ConstTensorView weights,
                                                  int64_t max_rank_tokens) = 0;
  // out [t, hidden] = for each token of Dispatch the sum over all ranks of its weighted experts.
  virtual absl::Status Combine(TensorView out) = 0;
};

// `backend`, `communicator` and `placement` are borrowed and must outlive the exchange.
absl::StatusOr<std::unique_ptr<ExpertExchange>> CreateExpertExchange(const ExchangeShape& shape, Backend& backend,
                                                                     Communicator& communicator,
                                                                     const ExpertPlacement& placement);

}  // namespace switchyard
