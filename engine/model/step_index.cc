#include "engine/model/step_index.h"

#include <algorithm>

#include "kernels/check.h"

namespace switchyard {
namespace {

// Sections start at multiples of 16 bytes.
constexpr int64_t kSectionAlignment = 4;

int64_t Aligned(int64_t size) { return (size + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment; }

}  // namespace

absl::StatusOr<StepIndex> StepIndex::Create(const StepIndexLimits& limits, Backend& backend) {
  StepIndex index;
  index.limits_ = limits;
  int64_t elements = 0;
  for (const int64_t size :
       {limits.max_tokens, limits.max_tokens, limits.max_sequences + 1,
        limits.max_sequences * limits.max_pages_per_sequence, limits.max_tokens, int64_t{1}, limits.max_output_rows}) {
    elements += Aligned(size);
  }
  absl::StatusOr<Tensor> device = backend.AllocateTensor(DType::kInt32, Shape{elements});
  if (!device.ok()) return device.status();
  index.device_ = *std::move(device);
  index.host_.reserve(static_cast<size_t>(elements));
  return index;
}

std::span<int32_t> StepIndex::Append(int64_t size, int32_t padding, ConstTensorView* view) {
  const auto begin = static_cast<int64_t>(host_.size());
  CHECK_LE(begin + Aligned(size), device_.view().num_elements());
  host_.resize(static_cast<size_t>(begin + Aligned(size)), padding);
  *view = device_.view().Rows(begin, begin + size);
  return std::span(host_).subspan(static_cast<size_t>(begin), static_cast<size_t>(size));
}

void StepIndex::SetBounds(std::span<const BatchSequence> sequences, bool is_padded) {
  attention_.max_context = is_padded ? limits_.max_context : 0;
  attention_.max_query_tokens = attention_.min_query_tokens = is_padded ? 1 : 0;
  for (const BatchSequence& sequence : sequences) {
    const int64_t tokens = sequence.num_tokens;
    CHECK(!is_padded || tokens == 1);
    if (is_padded) continue;
    attention_.max_context = std::max<int64_t>(attention_.max_context, sequence.position + tokens);
    const bool is_first = attention_.min_query_tokens == 0;
    attention_.min_query_tokens = is_first ? tokens : std::min(attention_.min_query_tokens, tokens);
    attention_.max_query_tokens = std::max(attention_.max_query_tokens, tokens);
  }
}

absl::Status StepIndex::Fill(const Batch& batch, const StepLayout& layout, int64_t num_output_rows, Backend& backend) {
  const bool is_padded = num_output_rows > 0;
  const int64_t num_rows = layout.attention_rows;
  const int64_t num_sequences = is_padded ? num_rows : layout.sequences.size();
  const std::span<const BatchSequence> sequences(batch.sequences.data() + layout.sequences.begin,
                                                 static_cast<size_t>(layout.sequences.size()));
  SetBounds(sequences, is_padded);
  int64_t table_width = is_padded ? limits_.max_pages_per_sequence : 1;
  if (!is_padded) {
    for (const BatchSequence& sequence : sequences) table_width = std::max<int64_t>(table_width, sequence.num_pages);
  }

  host_.clear();
  const std::span<int32_t> positions = Append(num_rows, 0, &attention_.positions);
  int64_t row = 0;
  for (const BatchSequence& sequence : sequences) {
    for (int32_t i = 0; i < sequence.num_tokens; ++i) positions[static_cast<size_t>(row++)] = sequence.position + i;
  }
  CHECK_EQ(row, layout.attention.size());

  const std::span<int32_t> token_sequence = Append(num_rows, -1, &attention_.token_sequence);
  row = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    for (int32_t i = 0; i < sequences[s].num_tokens; ++i) {
      token_sequence[static_cast<size_t>(row++)] = static_cast<int32_t>(s);
    }
  }

  const std::span<int32_t> sequence_begin =
      Append(num_sequences + 1, static_cast<int32_t>(layout.attention.size()), &attention_.sequence_begin);
  row = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    sequence_begin[s] = static_cast<int32_t>(row);
    row += sequences[s].num_tokens;
  }

  const std::span<int32_t> page_table = Append(num_sequences * table_width, -1, &attention_.page_table);
  attention_.page_table = attention_.page_table.Reshape(Shape{num_sequences, table_width});
  for (size_t s = 0; s < sequences.size(); ++s) {
    std::copy_n(batch.pages.begin() + sequences[s].page_begin, sequences[s].num_pages,
                page_table.begin() + static_cast<int64_t>(s) * table_width);
  }

  const std::span<int32_t> ids = Append(layout.residual_rows, 0, &residual_ids_);
  std::copy_n(batch.tokens.begin() + layout.residual.begin, layout.residual.size(), ids.begin());

  num_valid_ = output_rows_ = ConstTensorView();
  if (is_padded) {
    Append(1, 0, &num_valid_)[0] = static_cast<int32_t>(layout.residual.size());
    const std::span<int32_t> outputs = Append(num_output_rows, 0, &output_rows_);
    for (size_t i = 0; i < layout.samples.size(); ++i) {
      const int32_t token = batch.samples[static_cast<size_t>(layout.samples[i])].token;
      outputs[i] = token - static_cast<int32_t>(layout.residual.begin);
    }
  }
  return backend.CopyFromHost(ConstTensorView::Of(std::span<const int32_t>(host_)),
                              device_.view().Rows(0, static_cast<int64_t>(host_.size())));
}

}  // namespace switchyard
