// The launches that sampling is made of. A grid is [chunks, rows] (or [1, rows]) and a row takes part in the phases
// that it needs; results of a phase lie in scratch and are read by later launches only.
//
//   scan      per chunk: the best adjusted logit, and the sum of exponentials of the raw ones
//   top       the num_top largest raw logits: selection, count, collection                          (top_logits.cu)
//   select    the cut that top-k leaves, then the one of top-p: a radix selection each              (token_select.cu)
//   sum kept  per chunk: mass of the tokens kept                                                    (sampling.cu)
//   finish    per row: draw, log-probabilities, order of the top
#pragma once

#include <cstdint>

#include "kernels/cuda/sampling_params.h"
#include "kernels/cuda/stream.h"

namespace switchyard::cuda {

// What every kernel is given: a group of rows.
struct SamplingView {
  const float* logits;      // [rows, vocab_size], of the group
  const std::byte* params;  // of all rows
  int first_row;            // of the group
  int vocab_size;
  int num_chunks;
  RowScratch* rows;    // [rows]
  ChunkStats* chunks;  // [rows, num_chunks]
  RowResult* results;  // of all rows
  TokenLogProb* top;   // of all rows
};

enum class Selection {
  kTopLogits,  // the num_top largest raw logits -> RowScratch::top_cut
  kTopK,       // the top_k largest weights -> RowScratch::cut
  kTopP,       // of what the cut keeps, the shortest prefix that holds top_p of its mass -> RowScratch::cut
};

constexpr uint32_t PhaseOf(Selection selection) {
  return selection == Selection::kTopLogits ? kTopLogits : selection == Selection::kTopK ? kTopK : kTopP;
}

// After the scan.
void LaunchSelection(Selection selection, const SamplingView& view, int num_rows, Stream stream);
// After the selection kTopLogits: RowScratch::top.
void LaunchCollectTop(const SamplingView& view, int num_rows, Stream stream);

}  // namespace switchyard::cuda
