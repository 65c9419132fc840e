#include "kernels/cpu/fast_backend.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/op_checks.h"
#include "kernels/cpu/packed_weights.h"
#include "kernels/cpu/rope.h"
#include "kernels/cpu/router.h"
#include "kernels/cpu/sampling.h"

namespace switchyard {

FastBackend::FastBackend(const CpuBackendOptions& options)
    : pool_(ThreadPoolOptions{
          .num_threads = options.num_threads, .num_guests = options.num_guests, .shared_loops = options.shared_loops}),
      products_(pool_, {.bf16_activations = options.bf16_activations, .int8_activations = options.int8_activations}),
      attention_(pool_),
      experts_(pool_, products_) {}

std::string FastBackend::Description() const {
  const int threads = pool_.num_threads();
  return absl::StrCat("cpu ", VectorTargetName(), ", ", threads, threads == 1 ? " thread" : " threads",
                      products_.note());
}

int64_t FastBackend::SmallestRange(int64_t row_elements) {
  constexpr int64_t kRangeElements = 4096;
  return std::max<int64_t>(1, kRangeElements / std::max<int64_t>(1, row_elements));
}

absl::StatusOr<std::unique_ptr<Matrix>> FastBackend::CreateMatrix(const MatrixSpec& spec) {
  return CreatePackedMatrix(spec);
}

absl::StatusOr<std::unique_ptr<ExpertWeights>> FastBackend::CreateExperts(const ExpertWeightsSpec& spec) {
  return PackedExpertWeights::Create(spec);
}

void FastBackend::EmbedTokens(const Matrix& table, ConstTensorView ids, TensorView out) {
  CheckEmbedTokens(table, ids, out);
  const std::span<const int32_t> rows = ids.As<int32_t>();
  float* dst = out.As<float>().data();
  for (size_t t = 0; t < rows.size(); ++t) {
    CHECK(rows[t] >= 0 && rows[t] < table.spec().out_features);
    UnpackRow(table, rows[t], dst + t * table.spec().in_features);
  }
}

void FastBackend::RmsNorm(ConstTensorView x, ConstTensorView weight, float eps, TensorView out) {
  CheckRmsNorm(x, weight, out);
  const int64_t hidden = x.row_elements();
  pool_.ParallelFor(x.dim(0), SmallestRange(hidden), [&](int64_t begin, int64_t end) {
    RmsNormRows(x.As<float>().data() + begin * hidden, weight.As<float>().data(), eps, end - begin, hidden,
                out.As<float>().data() + begin * hidden);
  });
}

void FastBackend::AddRmsNorm(ConstTensorView delta, ConstTensorView weight, float eps, TensorView residual,
                             TensorView out) {
  CheckAdd(delta, residual);
  CheckRmsNorm(residual, weight, out);
  const int64_t hidden = residual.row_elements();
  pool_.ParallelFor(residual.dim(0), SmallestRange(hidden), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* sum = residual.As<float>().data() + row * hidden;
      AddScaled(delta.As<float>().data() + row * hidden, 1.0f, hidden, sum);
      RmsNormRows(sum, weight.As<float>().data(), eps, 1, hidden, out.As<float>().data() + row * hidden);
    }
  });
}

void FastBackend::Linear(ConstTensorView x, const Matrix& weight, TensorView y) {
  CheckLinear(x, weight, y);
  const int64_t columns = weight.spec().in_features;
  const float* source = x.As<float>().data();
  const RowProduct product = {.weight = &weight, .rows = x.dim(0)};
  products_.Run(
      {&product, product.rows == 0 ? size_t{0} : size_t{1}}, [&](int64_t row) { return source + row * columns; },
      y.As<float>().data());
}

void FastBackend::RopeAppendKv(const AttentionSpec& attention, const RopeSpec& rope, const AttentionIndex& index,
                               ConstTensorView qkv, TensorView q_out, const KvPages& pages) {
  CheckRopeAppendKv(attention, rope, index, qkv, q_out, pages);
  const RopeTask task{attention,
                      rope,
                      index,
                      qkv.As<float>().data(),
                      q_out.As<float>().data(),
                      KvRows(pages.k, pages.k_scales, index.page_table),
                      KvRows(pages.v, pages.v_scales, index.page_table)};
  pool_.ParallelFor(qkv.dim(0), SmallestRange(qkv.row_elements()),
                    [&](int64_t begin, int64_t end) { RopeAppendTokens(task, begin, end); });
}

void FastBackend::PagedAttention(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q,
                                 const KvPages& pages, TensorView out) {
  CheckPagedAttention(attention, index, q, pages, out);
  attention_.Run(attention, index, q, pages, out);
}

void FastBackend::Route(const RouterSpec& spec, ConstTensorView x, const Matrix& router, ConstTensorView num_valid,
                        const RouterOutput& out) {
  CheckRoute(spec, x, router, num_valid, out);
  const int64_t tokens = x.dim(0);
  float* logits = router_logits_.Get(tokens * spec.num_experts);
  const float* source = x.As<float>().data();
  const RowProduct product = {.weight = &router, .rows = tokens};
  products_.RunFloat32(
      {&product, tokens == 0 ? size_t{0} : size_t{1}}, [&](int64_t row) { return source + row * x.row_elements(); },
      logits);
  constexpr int64_t kElementsOfChoice = 16;  // choosing costs as much as streaming so many elements for each logit
  pool_.ParallelFor(tokens, SmallestRange(kElementsOfChoice * spec.num_experts), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      SelectExperts(spec, logits + t * spec.num_experts, out.experts.As<int32_t>().data() + t * spec.top_k,
                    out.weights.As<float>().data() + t * spec.top_k);
    }
  });
  CountAndMaskExperts(spec, tokens, num_valid, out);
}

void FastBackend::RunExperts(const ExpertWeights& experts, const ExpertArgs& args) {
  CheckRunExperts(experts, args);
  experts_.Run(PackedExpertWeights::From(experts), args);
}

void FastBackend::SumRows(ConstTensorView src, ConstTensorView begin, ConstTensorView index, TensorView dst) {
  CheckSumRows(src, begin, dst);
  const int64_t width = dst.row_elements();
  const std::span<const int32_t> first = begin.As<int32_t>();
  const std::span<const int32_t> rows = index.As<int32_t>();
  pool_.ParallelFor(dst.dim(0), SmallestRange(width), [&](int64_t row_begin, int64_t row_end) {
    for (int64_t t = row_begin; t < row_end; ++t) {
      float* sum = dst.As<float>().data() + t * width;
      std::fill_n(sum, width, 0.0f);
      for (int32_t j = first[t]; j < first[t + 1]; ++j) {
        CHECK(rows[j] >= 0 && rows[j] < src.dim(0));
        AddScaled(src.As<float>().data() + rows[j] * width, 1.0f, width, sum);
      }
    }
  });
}

void FastBackend::Add(ConstTensorView x, TensorView acc) {
  CheckAdd(x, acc);
  pool_.ParallelFor(acc.num_elements(), SmallestRange(1), [&](int64_t begin, int64_t end) {
    AddScaled(x.As<float>().data() + begin, 1.0f, end - begin, acc.As<float>().data() + begin);
  });
}

std::vector<SampledToken> FastBackend::Sample(TensorView logits, std::span<const SamplingRow> rows) {
  CheckLogits(logits, rows.size());
  std::vector<SampledToken> sampled(rows.size());
  pool_.ParallelFor(static_cast<int64_t>(rows.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sampled[i] = SampleRow(logits.Rows(i, i + 1).As<float>(), rows[i]);
  });
  return sampled;
}

std::vector<ScoredToken> FastBackend::Score(ConstTensorView logits, std::span<const ScoringRow> rows) {
  CheckLogits(logits, rows.size());
  std::vector<ScoredToken> scored(rows.size());
  pool_.ParallelFor(static_cast<int64_t>(rows.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) scored[i] = ScoreRow(logits.Rows(i, i + 1).As<float>(), rows[i]);
  });
  return scored;
}

}  // namespace switchyard
