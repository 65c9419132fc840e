#include "kernels/cpu/grouped_gemm.h"

#include <algorithm>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/gemm.h"

namespace switchyard {

namespace {

// Which owner's range holds `i`; begin ascending, one more entry than owners.
int64_t OwnerOf(const std::vector<int32_t>& begin, int64_t i) {
  return std::upper_bound(begin.begin(), begin.end(), i) - begin.begin() - 1;
}

}  // namespace

void GroupedExperts::Assign(const PackedExpertWeights& experts) {
  float32_experts_.clear();
  bf16_experts_.clear();
  tile_begin_.assign(1, 0);
  block_begin_.assign(1, 0);
  for (int32_t e = 0; e < experts.spec().num_experts; ++e) {
    const int64_t rows = NumRows(e);
    if (rows == 0) continue;
    const bool is_bf16 = bf16_ != nullptr && Bf16Gemm::Suits(rows, experts.gate_up(e).spec()) &&
                         Bf16Gemm::Suits(rows, experts.down(e).spec());
    if (is_bf16) {
      bf16_experts_.push_back(e);
      block_begin_.push_back(block_begin_.back() + static_cast<int32_t>(Bf16Gemm::NumBlocks(rows)));
    } else {
      float32_experts_.push_back(e);
      tile_begin_.push_back(tile_begin_.back() + static_cast<int32_t>(NumTiles(rows)));
    }
  }
}

template <typename Source>
GroupedExperts::Operand GroupedExperts::Pack(int64_t columns, Source source, Scratch<float>& packed,
                                             Scratch<uint16_t>& rounded) {
  Operand operand;
  if (!float32_experts_.empty()) operand.packed = packed.Get(PackedRowsSize(groups_.num_rows(), columns));
  if (!bf16_experts_.empty()) {
    operand.rounded = rounded.Get(Bf16Gemm::RoundedSize(block_begin_.back() * Bf16Gemm::kBlockRows, columns));
  }
  pool_.ParallelFor(tile_begin_.back(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t owner = OwnerOf(tile_begin_, tile);
      const int32_t expert = float32_experts_[owner];
      const int64_t first = groups_.begin[expert];
      PackTile(
          NumRows(expert), tile - tile_begin_[owner], columns, [&](int64_t row) { return source(first + row); },
          operand.packed + PackedRowsSize(first, columns));
    }
  });
  pool_.ParallelFor(block_begin_.back(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t owner = OwnerOf(block_begin_, block);
      const int32_t expert = bf16_experts_[owner];
      const int64_t first = groups_.begin[expert];
      Bf16Gemm::RoundBlock(
          NumRows(expert), block - block_begin_[owner], columns, [&](int64_t row) { return source(first + row); },
          operand.rounded + Bf16Gemm::RoundedSize(block_begin_[owner] * Bf16Gemm::kBlockRows, columns));
    }
  });
  return operand;
}

template <typename WeightOf>
void GroupedExperts::Multiply(const Operand& operand, WeightOf weight_of, float* y) {
  const PackedMatrix& any = weight_of(0);
  const int64_t groups = any.num_groups();
  const int64_t in_features = any.spec().in_features;
  const int64_t out_features = any.spec().out_features;
  const int64_t count = groups * static_cast<int64_t>(float32_experts_.size());
  pool_.ParallelFor(count, pool_.Grain(count, 8), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int32_t expert = float32_experts_[i / groups];
      const int64_t group_begin = i % groups;
      const int64_t group_end = std::min(groups, group_begin + (end - i));
      const int64_t first = groups_.begin[expert];
      MultiplyGroups(operand.packed + PackedRowsSize(first, in_features), NumRows(expert), weight_of(expert),
                     group_begin, group_end, y + first * out_features);
      i += group_end - group_begin;
    }
  });
  if (bf16_experts_.empty()) return;
  products_.clear();
  for (size_t i = 0; i < bf16_experts_.size(); ++i) {
    const int32_t expert = bf16_experts_[i];
    products_.push_back(
        {.x = operand.rounded + Bf16Gemm::RoundedSize(block_begin_[i] * Bf16Gemm::kBlockRows, in_features),
         .rows = NumRows(expert),
         .weight = &weight_of(expert),
         .y = y + groups_.begin[expert] * out_features});
  }
  bf16_->Multiply(products_);
}

void GroupedExperts::Run(const PackedExpertWeights& experts, const ExpertArgs& args) {
  const int64_t num_experts = experts.spec().num_experts;
  const int64_t hidden = experts.spec().hidden_size;
  const int64_t intermediate = experts.spec().intermediate_size;
  const int64_t top_k = args.slots.row_elements();
  const int64_t n = args.rows.dim(0);
  groups_.Assign(args.slots.As<int32_t>(), top_k, args.first_slot, num_experts);
  Assign(experts);
  const int64_t rows = groups_.num_rows();
  float* down = down_.Get(rows * hidden);
  if (rows > 0) {
    const float* x = args.rows.As<float>().data();
    const Operand tokens = Pack(
        hidden, [&](int64_t row) { return x + groups_.source[row] * hidden; }, packed_rows_, rounded_rows_);

    float* gate_up = gate_up_.Get(rows * 2 * intermediate);
    Multiply(
        tokens, [&](int32_t e) -> const PackedMatrix& { return experts.gate_up(e); }, gate_up);

    const Operand gated = Pack(
        intermediate,
        [&](int64_t row) {
          float* gate = gate_up + row * 2 * intermediate;
          SiluMultiply(gate + intermediate, intermediate, gate);
          return gate;
        },
        packed_hidden_, rounded_hidden_);
    Multiply(
        gated, [&](int32_t e) -> const PackedMatrix& { return experts.down(e); }, down);
  }

  const float* weights = args.weights.As<float>().data();
  pool_.ParallelFor(n, pool_.Grain(n, 8), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* out = args.out.As<float>().data() + row * hidden;
      std::fill_n(out, hidden, 0.0f);
      for (int64_t k = row * top_k; k < (row + 1) * top_k; ++k) {
        if (groups_.place[k] >= 0) AddScaled(down + groups_.place[k] * hidden, weights[k], hidden, out);
      }
    }
  });
}

}  // namespace switchyard
