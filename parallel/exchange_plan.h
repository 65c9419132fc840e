// Who sends which rows to whom in one dispatch, and which returned rows make up which token.
//
// Built from the slots that a rank's tokens are routed to. A token is sent once to each rank that owns any of its
// slots, however many of them live there; its row carries all its slots and the receiver picks its own. Rows are sent
// in order of rank, then of token, and the sums come back in that same order, so the plan is its own way home:
//   sent row i is token send_index()[i];
//   token t = sum of returned rows sum_index()[j] for j in [sum_begin()[t], sum_begin()[t + 1]), in rank order.
// expert_exchange.h shows a plan with numbers. Immutable; plain host memory, no device and no communication.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel/expert_placement.h"

namespace switchyard {

class ExchangePlan {
 public:
  // A plan for no tokens and no ranks: a value to assign to.
  ExchangePlan() = default;

  // slots [num_tokens, top_k]; -1: none. Repeated slots in a row count once. `recycled` is an old plan that lends its
  // memory, so that planning step after step allocates nothing.
  static ExchangePlan Build(std::span<const int32_t> slots, int64_t top_k, const ExpertPlacement& placement,
                            ExchangePlan recycled = ExchangePlan());

  int64_t num_tokens() const { return sum_begin_.empty() ? 0 : static_cast<int64_t>(sum_begin_.size()) - 1; }
  int64_t num_sent_rows() const { return static_cast<int64_t>(send_index_.size()); }
  std::span<const int64_t> send_rows() const { return send_rows_; }    // [num_ranks], rows for each rank
  std::span<const int32_t> send_index() const { return send_index_; }  // [num_sent_rows], the token of each sent row
  std::span<const int32_t> sum_begin() const { return sum_begin_; }    // [num_tokens + 1]
  std::span<const int32_t> sum_index() const { return sum_index_; }    // [num_sent_rows], returned rows by token

 private:
  std::vector<int64_t> send_rows_;
  std::vector<int32_t> send_index_;
  std::vector<int32_t> sum_begin_;
  std::vector<int32_t> sum_index_;
  // Scratch of Build: the token that a rank was last seen for, and the next free place of a rank or token.
  std::vector<int64_t> last_token_;
  std::vector<int64_t> next_row_;
};

}  // namespace switchyard
