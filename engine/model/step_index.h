// A step's index tensors on the device: which token sits where in which sequence's pages, and whose logits are wanted.
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
  int64_t max_output_rows = 0;
  int64_t max_context = 0;  // tokens of one sequence
};

// Allocated once for the largest step; filled anew for each, by one copy. Two steps of the same padded size have their
// tensors at the same places with the same extents, which recorded work relies on.
class StepIndex {
 public:
  static absl::StatusOr<StepIndex> Create(const StepIndexLimits& limits, Backend& backend);

  // Writes the rank's part of `batch`, padded as `layout` says. A padded step must give every sequence one token; its
  // output rows are `num_output_rows` residual rows, those of layout.samples first. Else num_output_rows is 0.
  absl::Status Fill(const Batch& batch, const StepLayout& layout, int64_t num_output_rows, Backend& backend);

  // Of the rank's attention tokens.
  const AttentionIndex& attention() const { return attention_; }
  // Token ids of the rank's residual rows, int32 [residual rows].
  ConstTensorView residual_ids() const { return residual_ids_; }
  // int32 [1]: residual rows that are tokens. No data where the step is not padded.
  ConstTensorView num_valid() const { return num_valid_; }
  // int32 [num_output_rows]: residual rows.
  ConstTensorView output_rows() const { return output_rows_; }

 private:
  // What the host knows of the step's lengths; of a padded step, what holds for every replay.
  void SetBounds(std::span<const BatchSequence> sequences, bool is_padded);
  // Appends a section to host_, aligned, filled with `padding`, and returns it. Valid until the next one.
  std::span<int32_t> Append(int64_t size, int32_t padding, ConstTensorView* view);

  StepIndexLimits limits_;
  Tensor device_;              // int32, all sections one behind the other
  std::vector<int32_t> host_;  // the same on the host
  AttentionIndex attention_;
  ConstTensorView residual_ids_;
  ConstTensorView num_valid_;
  ConstTensorView output_rows_;
};

}  // namespace switchyard
