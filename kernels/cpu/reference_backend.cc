#include "kernels/cpu/reference_backend.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/cpu/host_memory.h"
#include "kernels/cpu/host_weights.h"
#include "kernels/cpu/op_checks.h"
#include "kernels/cpu/sampling.h"

namespace switchyard {

absl::StatusOr<Buffer> ReferenceBackend::Allocate(size_t bytes) { return AllocateHostMemory(bytes); }

absl::Status ReferenceBackend::CopyFromHost(ConstTensorView host, TensorView device) {
  CHECK_EQ(host.bytes(), device.bytes());
  if (host.bytes() != 0) std::memcpy(device.data(), host.data(), host.bytes());
  return absl::OkStatus();
}

absl::Status ReferenceBackend::CopyToHost(ConstTensorView device, TensorView host) {
  return CopyFromHost(device, host);
}

void ReferenceBackend::Clear(TensorView tensor) {
  if (tensor.bytes() != 0) std::memset(tensor.data(), 0, tensor.bytes());
}

absl::StatusOr<std::unique_ptr<Matrix>> ReferenceBackend::CreateMatrix(const MatrixSpec& spec) {
  return HostMatrix::Create(spec);
}

absl::StatusOr<std::unique_ptr<ExpertWeights>> ReferenceBackend::CreateExperts(const ExpertWeightsSpec& spec) {
  if (is_offloaded(spec)) return CreateOffloaded(spec, CreateHostMatrix);
  return HostExpertWeights::Create(spec);
}

absl::StatusOr<std::unique_ptr<ExpertWeights>> ReferenceBackend::CreateOffloaded(const ExpertWeightsSpec& spec,
                                                                                 MatrixFactory create) {
  if (copier_ == nullptr) {
    absl::StatusOr<std::unique_ptr<ExpertCopier>> copier = ExpertCopier::Create();
    if (!copier.ok()) return copier.status();
    copier_ = *std::move(copier);
  }
  return OffloadedExperts::Create(spec, offload_, create, *copier_);
}

void ReferenceBackend::EmbedTokens(const Matrix& table, ConstTensorView ids, TensorView out) {
  CheckEmbedTokens(table, ids, out);
  const std::span<const int32_t> rows = ids.As<int32_t>();
  float* dst = out.As<float>().data();
  for (size_t t = 0; t < rows.size(); ++t) {
    CHECK(rows[t] >= 0 && rows[t] < table.spec().out_features);
    HostMatrix::From(table).ConvertRow(rows[t], dst + t * table.spec().in_features);
  }
}

void ReferenceBackend::RmsNorm(ConstTensorView x, ConstTensorView weight, float eps, TensorView out) {
  CheckRmsNorm(x, weight, out);
  const int64_t hidden = x.row_elements();
  const float* w = weight.As<float>().data();
  for (int64_t t = 0; t < x.dim(0); ++t) {
    const float* row = x.As<float>().data() + t * hidden;
    float* result = out.As<float>().data() + t * hidden;
    double sum_of_squares = 0;
    for (int64_t i = 0; i < hidden; ++i) sum_of_squares += static_cast<double>(row[i]) * row[i];
    const double inverse_rms = 1.0 / std::sqrt(sum_of_squares / static_cast<double>(hidden) + eps);
    for (int64_t i = 0; i < hidden; ++i) result[i] = static_cast<float>(row[i] * inverse_rms * w[i]);
  }
}

void ReferenceBackend::AddRmsNorm(ConstTensorView delta, ConstTensorView weight, float eps, TensorView residual,
                                  TensorView out) {
  ReferenceBackend::Add(delta, residual);
  ReferenceBackend::RmsNorm(residual, weight, eps, out);
}

void ReferenceBackend::Linear(ConstTensorView x, const Matrix& weight, TensorView y) {
  CheckLinear(x, weight, y);
  const int64_t out_features = weight.spec().out_features;
  const int64_t in_features = weight.spec().in_features;
  std::vector<float> w(in_features);
  for (int64_t o = 0; o < out_features; ++o) {
    HostMatrix::From(weight).ConvertRow(o, w.data());
    for (int64_t t = 0; t < x.dim(0); ++t) {
      const float* row = x.As<float>().data() + t * in_features;
      double sum = 0;
      for (int64_t i = 0; i < in_features; ++i) sum += static_cast<double>(row[i]) * w[i];
      y.As<float>()[t * out_features + o] = static_cast<float>(sum);
    }
  }
}

void ReferenceBackend::GatherRows(ConstTensorView src, ConstTensorView index, TensorView dst) {
  CheckGatherRows(src, index, dst);
  const size_t row_bytes = static_cast<size_t>(src.row_elements()) * SizeOf(src.dtype());
  const std::span<const int32_t> rows = index.As<int32_t>();
  for (size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i] >= 0 && rows[i] < src.dim(0));
    std::memcpy(static_cast<std::byte*>(dst.data()) + i * row_bytes,
                static_cast<const std::byte*>(src.data()) + rows[i] * row_bytes, row_bytes);
  }
}

void ReferenceBackend::SumRows(ConstTensorView src, ConstTensorView begin, ConstTensorView index, TensorView dst) {
  CheckSumRows(src, begin, dst);
  const int64_t width = dst.row_elements();
  const std::span<const int32_t> first = begin.As<int32_t>();
  const std::span<const int32_t> rows = index.As<int32_t>();
  for (int64_t t = 0; t < dst.dim(0); ++t) {
    float* sum = dst.As<float>().data() + t * width;
    std::fill_n(sum, width, 0.0f);
    for (int32_t j = first[t]; j < first[t + 1]; ++j) {
      CHECK(rows[j] >= 0 && rows[j] < src.dim(0));
      const float* row = src.As<float>().data() + rows[j] * width;
      for (int64_t i = 0; i < width; ++i) sum[i] += row[i];
    }
  }
}

void ReferenceBackend::Add(ConstTensorView x, TensorView acc) {
  CheckAdd(x, acc);
  const std::span<const float> addend = x.As<float>();
  const std::span<float> sum = acc.As<float>();
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += addend[i];
}

std::vector<SampledToken> ReferenceBackend::Sample(TensorView logits, std::span<const SamplingRow> rows) {
  CheckLogits(logits, rows.size());
  std::vector<SampledToken> sampled;
  for (size_t i = 0; i < rows.size(); ++i) sampled.push_back(SampleRow(logits.Rows(i, i + 1).As<float>(), rows[i]));
  return sampled;
}

std::vector<ScoredToken> ReferenceBackend::Score(ConstTensorView logits, std::span<const ScoringRow> rows) {
  CheckLogits(logits, rows.size());
  std::vector<ScoredToken> scored;
  for (size_t i = 0; i < rows.size(); ++i) scored.push_back(ScoreRow(logits.Rows(i, i + 1).As<float>(), rows[i]));
  return scored;
}

}  // namespace switchyard
