#include "kernels/cpu/grouped_gemm.h"

#include <algorithm>

#include "kernels/cpu/elementwise.h"

namespace switchyard {

void GroupedExperts::Run(const PackedExpertWeights& experts, const ExpertArgs& args) {
  const int64_t num_experts = experts.spec().num_experts;
  const int64_t hidden = experts.spec().hidden_size;
  const int64_t intermediate = experts.spec().intermediate_size;
  const int64_t top_k = args.slots.row_elements();
  const int64_t n = args.rows.dim(0);
  groups_.Assign(args.slots.As<int32_t>(), top_k, args.first_slot, num_experts);
  gate_up_products_.clear();
  down_products_.clear();
  for (int64_t e = 0; e < num_experts; ++e) {
    const int64_t first = groups_.begin[e];
    const int64_t rows = groups_.begin[e + 1] - first;
    if (rows == 0) continue;
    gate_up_products_.push_back({.weight = &experts.gate_up(e), .first_row = first, .rows = rows});
    down_products_.push_back({.weight = &experts.down(e), .first_row = first, .rows = rows});
  }

  const int64_t rows = groups_.num_rows();
  const float* x = args.rows.As<float>().data();
  float* gate_up = gate_up_.Get(rows * 2 * intermediate);
  float* down = down_.Get(rows * hidden);
  products_.Run(
      gate_up_products_, [&](int64_t row) { return x + groups_.source[row] * hidden; }, gate_up);
  products_.Run(
      down_products_,
      [&](int64_t row) {
        float* gate = gate_up + row * 2 * intermediate;
        SiluMultiply(gate + intermediate, intermediate, gate);
        return gate;
      },
      down);

  const float* weights = args.weights.As<float>().data();
  pool_.ParallelFor(n, 8, [&](int64_t begin, int64_t end) {
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
