// A step's index tensors on the device: which token sits where in which sequence's pages.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/batch.h"
#include "engine/step_layout.h"
#include "kernels/backend.h"

namespace switchyard {

struct StepIndexLimits {
  int64_t max_tokens = 0;
  int64_t max_sequences = 0;
  int64_t max_pages_per_sequence = 0;
};

// Allocated once for the largest step; filled anew for each.
class StepIndex {
 public:
  static absl::StatusOr<StepIndex> Create(const StepIndexLimits& limits, Backend& backend);

  // Writes the rank's part of `batch`.
  absl::Status Fill(const Batch& batch, const StepLayout& layout, Backend& backend);

  // Of the rank's attention tokens.
  const AttentionIndex& attention() const { return attention_; }
  // Token ids of the rank's residual range, int32 [residual].
  ConstTensorView residual_ids() const { return residual_ids_view_; }

 private:
  Tensor positions_;
  Tensor token_sequence_;
  Tensor sequence_begin_;
  Tensor page_table_;
  Tensor residual_ids_;
  ConstTensorView residual_ids_view_;
  AttentionIndex attention_;

  // Host side, kept to be reused.
  std::vector<int32_t> host_positions_, host_token_sequence_, host_sequence_begin_, host_page_table_;
};

}  // namespace switchyard
