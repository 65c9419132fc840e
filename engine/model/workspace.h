// Activations of one rank, allocated once for the largest step.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"
#include "kernels/backend.h"

namespace switchyard {

struct WorkspaceShape {
  int64_t max_tokens = 0;       // of a step, slices rounded up to equal lengths
  bool has_slices = true;       // some steps have TokenLayout::kSliced
  int64_t num_heads = 0;        // on this rank
  int64_t num_kv_heads = 0;     // on this rank
  int64_t max_output_rows = 0;  // logits computed at a time
};

struct Workspace {
  Tensor residual;  // float32 [max_tokens, hidden]
  Tensor normed;    // [max_tokens, hidden]
  // [max_tokens, hidden], where there are slices: all ranks' slices of `normed`, and once QKV is made of them the
  // attention output before the sum over ranks.
  Tensor gathered;
  Tensor delta;           // [max_tokens, hidden]: what is to be added to the residual
  Tensor qkv;             // [max_tokens, (heads + 2 * kv_heads) * head_dim]
  Tensor queries;         // [max_tokens, heads * head_dim]
  Tensor attended;        // [max_tokens, heads * head_dim]
  Tensor router_experts;  // int32 [layers, max_tokens, top_k]
  Tensor router_weights;  // float32 [max_tokens, top_k]
  Tensor expert_counts;   // int32 [layers, experts]: tokens of the step that chose each expert
  Tensor output_index;    // int32 [max_output_rows]
  Tensor output_hidden;   // [max_output_rows, hidden]
  Tensor logits;          // float32 [max_output_rows, vocab]

  // int32 [num_tokens, top_k]: what the router of a layer chose.
  TensorView RouterExperts(int64_t layer, int64_t num_tokens);

  static absl::StatusOr<Workspace> Create(const WorkspaceShape& shape, const DecoderSpec& spec, Backend& backend);
};

}  // namespace switchyard
