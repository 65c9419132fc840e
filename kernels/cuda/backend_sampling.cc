// CudaBackend: rows to draw or score go up packed, answers come back packed.
#include <iterator>
#include <type_traits>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/op_checks.h"

namespace switchyard::cuda {

std::vector<std::byte> CudaBackend::RunPacked(const PackedSampling& packed, ConstTensorView logits, bool is_scoring) {
  std::vector<std::byte> answers(packed.result_bytes());
  Note(transfers_.Upload(packed.params().data(), packed.params().size(), Scratch(layout_.sampling_params)));
  const SamplingArgs args = {.logits = static_cast<const float*>(logits.data()),
                             .vocab_size = logits.dim(1),
                             .params = Scratch(layout_.sampling_params),
                             .results = Scratch(layout_.sampling_results),
                             .scratch = Scratch(layout_.sampling)};
  is_scoring ? cuda::Score(packed, args, stream_) : cuda::Sample(packed, args, stream_);
  Note(transfers_.Download(Scratch(layout_.sampling_results), answers.size(), answers.data()));
  return answers;
}

template <typename Row, typename Result>
void CudaBackend::RunSampling(ConstTensorView logits, std::span<const Row> rows, std::vector<Result>& results) {
  const PackedSampling packed = PackedSampling::Pack(rows, logits.dim(1));
  if (packed.params().size() > layout_.sampling_params.bytes ||
      packed.result_bytes() > layout_.sampling_results.bytes) {
    CHECK_GT(rows.size(), size_t{1});
    const auto half = static_cast<int64_t>(rows.size() / 2);
    RunSampling(logits.Rows(0, half), rows.first(static_cast<size_t>(half)), results);
    RunSampling(logits.Rows(half, logits.dim(0)), rows.subspan(static_cast<size_t>(half)), results);
    return;
  }
  constexpr bool kIsScoring = std::is_same_v<Row, ScoringRow>;
  const std::vector<std::byte> answers = RunPacked(packed, logits, kIsScoring);
  std::vector<Result> found;
  if constexpr (kIsScoring) {
    found = packed.UnpackScored(answers);
  } else {
    found = packed.UnpackSampled(answers);
  }
  std::move(found.begin(), found.end(), std::back_inserter(results));
}

std::vector<SampledToken> CudaBackend::Sample(TensorView logits, std::span<const SamplingRow> rows) {
  CheckType(logits, DType::kFloat32);
  CHECK_EQ(logits.dim(0), static_cast<int64_t>(rows.size()));
  std::vector<SampledToken> sampled;
  if (!rows.empty()) RunSampling(logits, rows, sampled);
  return sampled;
}

std::vector<ScoredToken> CudaBackend::Score(ConstTensorView logits, std::span<const ScoringRow> rows) {
  CheckType(logits, DType::kFloat32);
  CHECK_EQ(logits.dim(0), static_cast<int64_t>(rows.size()));
  std::vector<ScoredToken> scored;
  if (!rows.empty()) RunSampling(logits, rows, scored);
  return scored;
}

}  // namespace switchyard::cuda
