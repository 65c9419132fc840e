// ReferenceBackend: router and experts.
#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "kernels/cpu/host_weights.h"
#include "kernels/cpu/op_checks.h"
#include "kernels/cpu/reference_backend.h"
#include "kernels/cpu/router.h"

namespace switchyard {
namespace {

// Products of every row of `weight` with x [in_features].
std::vector<double> Multiply(const HostMatrix& weight, const double* x) {
  const int64_t out_features = weight.spec().out_features;
  const int64_t in_features = weight.spec().in_features;
  std::vector<float> row(in_features);
  std::vector<double> y(out_features, 0.0);
  for (int64_t o = 0; o < out_features; ++o) {
    weight.ConvertRow(o, row.data());
    for (int64_t i = 0; i < in_features; ++i) y[o] += row[i] * x[i];
  }
  return y;
}

// The lowest index of the largest value among those not in `chosen`; NaN is never larger.
int32_t LargestUnchosen(const std::vector<double>& values, const std::vector<int32_t>& chosen) {
  int32_t best = -1;
  for (int32_t i = 0; i < static_cast<int32_t>(values.size()); ++i) {
    if (std::find(chosen.begin(), chosen.end(), i) != chosen.end()) continue;
    if (best < 0 || values[i] > values[best]) best = i;
  }
  return best;
}

}  // namespace

void ReferenceBackend::Route(const RouterSpec& spec, ConstTensorView x, const Matrix& router, ConstTensorView num_valid,
                             const RouterOutput& out) {
  CheckRoute(spec, x, router, num_valid, out);
  const int64_t hidden = x.row_elements();
  for (int64_t t = 0; t < x.dim(0); ++t) {
    const float* row = x.As<float>().data() + t * hidden;
    std::vector<double> p = Multiply(HostMatrix::From(router), std::vector<double>(row, row + hidden).data());
    const double largest = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& value : p) sum += value = std::exp(value - largest);
    for (double& value : p) value /= sum;

    std::vector<int32_t> order;
    while (static_cast<int64_t>(order.size()) < spec.top_k) order.push_back(LargestUnchosen(p, order));
    double chosen = 0;
    for (int64_t k = 0; k < spec.top_k; ++k) chosen += p[order[k]];
    for (int64_t k = 0; k < spec.top_k; ++k) {
      out.experts.As<int32_t>()[t * spec.top_k + k] = order[k];
      out.weights.As<float>()[t * spec.top_k + k] = static_cast<float>(p[order[k]] / (spec.renormalize ? chosen : 1.0));
    }
  }
  CountAndMaskExperts(spec, x.dim(0), num_valid, out);
}

void ReferenceBackend::RunExperts(const ExpertWeights& experts, const ExpertArgs& args) {
  CheckRunExperts(experts, args);
  const CpuExperts& host = CpuExperts::From(experts);
  const int64_t num_experts = experts.spec().num_experts;
  const int64_t hidden = experts.spec().hidden_size;
  const int64_t intermediate = experts.spec().intermediate_size;
  const int64_t top_k = args.slots.row_elements();
  const int64_t num_pairs = args.slots.num_elements();
  const auto expert_of = [&](int64_t pair) -> int64_t {
    const int64_t slot = args.slots.As<int32_t>()[pair];
    return slot < args.first_slot || slot >= args.first_slot + num_experts ? -1 : slot - args.first_slot;
  };
  std::set<int> chosen;
  for (int64_t pair = 0; pair < num_pairs; ++pair) {
    if (expert_of(pair) >= 0) chosen.insert(static_cast<int>(expert_of(pair)));
  }
  std::vector<std::vector<double>> down(num_pairs);  // of each pair (row, k) with a local expert, [hidden]
  host.ForEachPart(std::vector<int>(chosen.begin(), chosen.end()), args.next, [&](std::span<const int> part) {
    for (int64_t pair = 0; pair < num_pairs; ++pair) {
      const int64_t expert = expert_of(pair);
      if (std::find(part.begin(), part.end(), expert) == part.end()) continue;
      const float* row = args.rows.As<float>().data() + pair / top_k * hidden;
      const std::vector<double> x(row, row + hidden);
      std::vector<double> gate_up = Multiply(HostMatrix::From(host.gate_up(expert)), x.data());
      for (int64_t i = 0; i < intermediate; ++i) {
        gate_up[i] = gate_up[i] / (1.0 + std::exp(-gate_up[i])) * gate_up[intermediate + i];
      }
      down[pair] = Multiply(HostMatrix::From(host.down(expert)), gate_up.data());
    }
  });
  for (int64_t n = 0; n < args.rows.dim(0); ++n) {
    std::vector<double> sum(hidden, 0.0);
    for (int64_t pair = n * top_k; pair < (n + 1) * top_k; ++pair) {
      if (expert_of(pair) < 0) continue;
      const double weight = args.weights.As<float>()[pair];
      for (int64_t i = 0; i < hidden; ++i) sum[i] += weight * down[pair][i];
    }
    std::copy(sum.begin(), sum.end(), args.out.As<float>().data() + n * hidden);
  }
}

}  // namespace switchyard
