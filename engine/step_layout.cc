#include "engine/step_layout.h"

#include <algorithm>

#include "kernels/check.h"

namespace switchyard {
namespace {

// Tokens and sequences of one owner; both are sorted by owner.
void FindOwned(const Batch& batch, int owner, TokenRange* tokens, TokenRange* sequences) {
  const auto [begin, end] =
      std::equal_range(batch.sequences.begin(), batch.sequences.end(), BatchSequence{.owner = owner},
                       [](const BatchSequence& a, const BatchSequence& b) { return a.owner < b.owner; });
  *sequences = {begin - batch.sequences.begin(), end - batch.sequences.begin()};
  if (begin == end) {
    *tokens = {0, 0};
    return;
  }
  const BatchSequence& last = *(end - 1);
  *tokens = {begin->token_begin, last.token_begin + last.num_tokens};
}

template <typename Row>
std::vector<int32_t> RowsOf(const std::vector<Row>& rows, const StepLayout& layout, int rank, int world_size) {
  std::vector<int32_t> mine;
  for (size_t i = 0; i < rows.size(); ++i) {
    // Where every rank holds every row, they take turns.
    const bool is_mine = layout.layout == TokenLayout::kReplicated
                             ? static_cast<int>(i % static_cast<size_t>(world_size)) == rank
                             : rows[i].token >= layout.residual.begin && rows[i].token < layout.residual.end;
    if (is_mine) mine.push_back(static_cast<int32_t>(i));
  }
  return mine;
}

}  // namespace

TokenLayout LayoutOf(AttentionParallelism attention, ExchangeStrategy exchange) {
  if (exchange == ExchangeStrategy::kAllReduce) return TokenLayout::kReplicated;
  return attention == AttentionParallelism::kTensorParallel ? TokenLayout::kSliced : TokenLayout::kDivided;
}

StepLayout MakeStepLayout(const Batch& batch, TokenLayout kind, int rank, int world_size, int64_t padded_tokens) {
  StepLayout layout{.layout = kind, .num_tokens = static_cast<int64_t>(batch.tokens.size())};
  const bool is_padded = padded_tokens > 0;
  const int64_t rows = is_padded ? padded_tokens : layout.num_tokens;
  const TokenRange all_tokens = {0, layout.num_tokens};
  layout.attention = all_tokens;
  layout.attention_rows = rows;
  layout.sequences = {0, static_cast<int64_t>(batch.sequences.size())};
  switch (kind) {
    case TokenLayout::kReplicated:
      layout.residual = all_tokens;
      layout.residual_rows = layout.max_residual_rows = rows;
      break;
    case TokenLayout::kSliced: {
      CHECK(!is_padded || padded_tokens % world_size == 0);
      const int64_t slice = (rows + world_size - 1) / world_size;
      layout.residual = {std::min(rank * slice, layout.num_tokens), std::min((rank + 1) * slice, layout.num_tokens)};
      layout.residual_rows = is_padded ? slice : layout.residual.size();
      layout.max_residual_rows = slice;
      break;
    }
    case TokenLayout::kDivided: {
      for (int owner = 0; owner < world_size; ++owner) {
        TokenRange tokens, sequences;
        FindOwned(batch, owner, &tokens, &sequences);
        layout.max_residual_rows = std::max(layout.max_residual_rows, tokens.size());
        if (owner != rank) continue;
        layout.attention = layout.residual = tokens;
        layout.sequences = sequences;
      }
      layout.attention_rows = layout.residual_rows = is_padded ? padded_tokens : layout.residual.size();
      if (is_padded) layout.max_residual_rows = padded_tokens;
      break;
    }
  }
  CHECK(layout.attention.size() <= layout.attention_rows && layout.residual.size() <= layout.residual_rows);
  layout.samples = RowsOf(batch.samples, layout, rank, world_size);
  layout.scores = RowsOf(batch.scores, layout, rank, world_size);
  return layout;
}

}  // namespace switchyard
