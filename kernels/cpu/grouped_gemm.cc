#include "kernels/cpu/grouped_gemm.h"

#include <algorithm>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/gemm.h"

namespace switchyard {

template <typename Source>
void GroupedExperts::Pack(int64_t columns, Source source, float* packed) {
  pool_.ParallelFor(tile_begin_.back(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const auto owner = std::upper_bound(tile_begin_.begin(), tile_begin_.end(), tile) - tile_begin_.begin() - 1;
      const int64_t first = groups_.begin[active_[owner]];
      const int64_t rows = groups_.begin[active_[owner] + 1] - first;
      PackTile(
          rows, tile - tile_begin_[owner], columns, [&](int64_t row) { return source(first + row); },
          packed + PackedRowsSize(first, columns));
    }
  });
}

template <typename WeightOf>
void GroupedExperts::Multiply(const float* packed, WeightOf weight_of, float* y) {
  const PackedMatrix& any = weight_of(active_.front());
  const int64_t groups = any.num_groups();
  const int64_t in_features = any.spec().in_features;
  const int64_t out_features = any.spec().out_features;
  const int64_t count = groups * static_cast<int64_t>(active_.size());
  pool_.ParallelFor(count, pool_.Grain(count, 8), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int32_t expert = active_[i / groups];
      const int64_t group_begin = i % groups;
      const int64_t group_end = std::min(groups, group_begin + (end - i));
      const int64_t first = groups_.begin[expert];
      MultiplyGroups(packed + PackedRowsSize(first, in_features), groups_.begin[expert + 1] - first, weight_of(expert),
                     group_begin, group_end, y + first * out_features);
      i += group_end - group_begin;
    }
  });
}

void GroupedExperts::Run(const PackedExpertWeights& experts, const ExpertArgs& args) {
  const auto [num_experts, hidden, intermediate, dtype] = experts.spec();
  const int64_t top_k = args.slots.row_elements();
  const int64_t n = args.rows.dim(0);
  groups_.Assign(args.slots.As<int32_t>(), top_k, args.first_slot, num_experts);
  active_.clear();
  tile_begin_.assign(1, 0);
  for (int32_t e = 0; e < num_experts; ++e) {
    const int32_t rows = groups_.begin[e + 1] - groups_.begin[e];
    if (rows == 0) continue;
    active_.push_back(e);
    tile_begin_.push_back(tile_begin_.back() + static_cast<int32_t>(NumTiles(rows)));
  }
  const int64_t rows = groups_.num_rows();
  float* down = down_.Get(rows * hidden);
  if (rows > 0) {
    const float* x = args.rows.As<float>().data();
    float* packed = packed_rows_.Get(PackedRowsSize(rows, hidden));
    Pack(
        hidden, [&](int64_t row) { return x + groups_.source[row] * hidden; }, packed);

    float* gate_up = gate_up_.Get(rows * 2 * intermediate);
    Multiply(
        packed, [&](int32_t e) -> const PackedMatrix& { return experts.gate_up(e); }, gate_up);

    float* packed_hidden = packed_hidden_.Get(PackedRowsSize(rows, intermediate));
    Pack(
        intermediate,
        [&](int64_t row) {
          float* gate = gate_up + row * 2 * intermediate;
          SiluMultiply(gate + intermediate, intermediate, gate);
          return gate;
        },
        packed_hidden);
    Multiply(
        packed_hidden, [&](int32_t e) -> const PackedMatrix& { return experts.down(e); }, down);
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
