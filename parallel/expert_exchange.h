// Carries tokens to the ranks that own their experts, and the weighted sums back.
//
// Example: 4 tokens, 8 experts, top-2, 2 ranks; rank 0 owns experts 0-3, rank 1 owns 4-7; strategy kAllToAll.
// Tokens A, B start on rank 0 and C, D on rank 1.
//
//   route      each rank, its own tokens:         experts    weights
//                rank 0   row 0 = A               1, 5       0.75, 0.25
//                         row 1 = B               2, 0       0.5,  0.5
//                rank 1   row 0 = C               6, 4       0.5,  0.5
//                         row 1 = D               3, 7       0.25, 0.75
//   plan       a row travels once to each rank that owns any of its experts:
//                rank 0   to rank 0: A, B   to rank 1: A      send_rows 2, 1   send_index 0, 1, 0
//                rank 1   to rank 0: D      to rank 1: C, D   send_rows 1, 2   send_index 1, 0, 1
//              and comes back in the same order, so token t sums the returned rows sum_index[sum_begin[t]...]:
//                rank 0   A: rows 0, 2 (rank 0's sum, rank 1's sum)   B: row 1      begin 0, 2, 3   index 0, 2, 1
//                rank 1   C: row 1   D: rows 0, 2                                   begin 0, 1, 3   index 1, 0, 2
//   dispatch   counts first, then rows with all their slots and weights (slot = expert here):
//                rank 0 holds A, B, D    slots 1, 5 | 2, 0 | 3, 7
//                rank 1 holds A, C, D    slots 1, 5 | 6, 4 | 3, 7
//   experts    each rank sums what it owns and skips the other slots; E_e(x) is expert e:
//                rank 0   .75 E1(A)    .5 E2(B) + .5 E0(B)    .25 E3(D)
//                rank 1   .25 E5(A)    .5 E6(C) + .5 E4(C)    .75 E7(D)
//   combine    the sums return (rank 0 receives rows .75 E1(A) | .5 E2(B) + .5 E0(B) | .25 E5(A)) and are added:
//                A = .75 E1(A) + .25 E5(A)    B = .5 E2(B) + .5 E0(B)
//                C = .5 E6(C) + .5 E4(C)      D = .25 E3(D) + .75 E7(D)
//
// With kAllGather both ranks hold A, B, C, D and a reduce-scatter adds the sums; with kAllReduce both ranks hold
// A, B, C, D from the start and an all-reduce adds them. All three add in rank order and give the same bits.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "parallel/communicator.h"
#include "parallel/exchange_strategy.h"
#include "parallel/expert_placement.h"

namespace switchyard {

// What a rank's experts work on after dispatch. Views into the caller's tensors or the exchange's buffers, valid until
// the next Dispatch.
struct DispatchedRows {
  ConstTensorView rows;     // [n, hidden]
  ConstTensorView slots;    // int32 [n, top_k]; slots of other ranks, or -1, are to be ignored (ExpertArgs)
  ConstTensorView weights;  // float32 [n, top_k]
  TensorView sums;          // [n, hidden]: for the caller to write the weighted sums of its local experts, 0 where none
};

struct ExchangeShape {
  int64_t hidden_size = 0;
  int64_t top_k = 0;
  int64_t max_tokens = 0;  // of all ranks together in one step; every buffer is allocated for it at creation
  // Of one rank in one step; 0: max_tokens. kAllGather pads every rank's block to the largest, so its buffers hold
  // size * max_rank_tokens rows: worth setting where tokens are sliced evenly.
  int64_t max_rank_tokens = 0;
  // No strategy but kAllReduce will be asked for: rows never leave their rank, and need no buffers to travel in.
  bool all_reduce_only = false;
};

// One step's MoE layer: Dispatch, run the local experts, Combine. One object per rank serves all layers and
// strategies; a rank without tokens or without experts takes part all the same. Used by the rank's thread only; the
// strategy of a call is the same on every rank. With one rank nothing is copied or sent.
class ExpertExchange {
 public:
  virtual ~ExpertExchange() = default;

  // tokens [t, hidden], experts int32 [t, top_k] (-1: none), weights float32 [t, top_k]: this rank's tokens
  // (kAllToAll, kAllGather) or all of them, the same on every rank (kAllReduce). `max_rank_tokens` is the largest t of
  // all ranks. The arguments must stay as they are until Combine.
  virtual absl::StatusOr<DispatchedRows> Dispatch(ExchangeStrategy strategy, ConstTensorView tokens,
                                                  ConstTensorView experts, ConstTensorView weights,
                                                  int64_t max_rank_tokens) = 0;
  // [t, hidden] = for each token of Dispatch the sum over all ranks of its weighted experts, 0 where it has none: a
  // view into the exchange's buffers (`sums` itself where nothing has to travel back), valid until the next Dispatch.
  virtual absl::StatusOr<TensorView> Combine() = 0;
  // The most rows that Dispatch can return, for any strategy.
  virtual int64_t max_rows() const = 0;
  // Bytes of rows, slots and weights that this rank has handed to the collectives for other ranks, since creation.
  virtual uint64_t bytes_sent() const = 0;
};

// `backend`, `communicator` and `placement` are borrowed and must outlive the exchange. INVALID_ARGUMENT where
// placement and communicator differ in ranks; RESOURCE_EXHAUSTED where the buffers do not fit.
absl::StatusOr<std::unique_ptr<ExpertExchange>> CreateExpertExchange(const ExchangeShape& shape, Backend& backend,
                                                                     Communicator& communicator,
                                                                     const ExpertPlacement& placement);

}  // namespace switchyard
