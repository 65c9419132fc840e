// Drawing and scoring over rows of logits, which the language-model head has just written.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "bench/gpu_kernel_cases.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sampling_params.h"

namespace switchyard {
namespace {

// Of logits: the spread that trained models have, roughly.
constexpr float kDeviation = 3.0f;

template <typename Row>
KernelCase RowsCase(const BenchModel& model, const std::string& name, const std::vector<Row>& rows) {
  constexpr bool kScores = std::is_same_v<Row, ScoringRow>;
  const auto count = static_cast<int64_t>(rows.size());
  return {absl::StrCat(kScores ? "Score" : "Sample", ", ", count, " rows, ", name),
          [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
            const auto packed = std::make_shared<cuda::PackedSampling>(cuda::PackedSampling::Pack(rows, model.vocab));
            const int64_t size = count * model.vocab;
            const int64_t sets = device.ActivationSets(static_cast<double>(size) * 4);
            const float* logits = device.inputs.RandomFloats(sets * size, kDeviation);
            const std::vector<std::byte> params(packed->params().begin(), packed->params().end());
            auto* results = static_cast<std::byte*>(device.inputs.Bytes(packed->result_bytes()));
            cuda::SamplingArgs args = {.logits = logits,
                                       .vocab_size = model.vocab,
                                       .params = device.inputs.Upload(params),
                                       .results = results,
                                       .scratch = static_cast<std::byte*>(
                                           device.inputs.Bytes(cuda::SamplingScratchBytes(count, model.vocab)))};
            return KernelRun{.launch =
                                 [=, stream = device.stream](int64_t set) {
                                   cuda::SamplingArgs of_set = args;
                                   of_set.logits = logits + set * size;
                                   if constexpr (kScores) {
                                     cuda::Score(*packed, of_set, stream);
                                   } else {
                                     cuda::Sample(*packed, of_set, stream);
                                   }
                                   return absl::OkStatus();
                                 },
                             .num_sets = sets,
                             // One pass over the logits.
                             .min_bytes = static_cast<double>(size) * 4,
                             // RowResult: an id, then a log-probability.
                             .outputs = {{.name = "id",
                                          .data = results,
                                          .dtype = DType::kInt32,
                                          .rows = count,
                                          .row_elements = 1,
                                          .row_stride = sizeof(cuda::RowResult) / 4,
                                          .int_limit = model.vocab},
                                         {.name = "logprob",
                                          .data = results + offsetof(cuda::RowResult, logprob),
                                          .dtype = DType::kFloat32,
                                          .rows = count,
                                          .row_elements = 1,
                                          .row_stride = sizeof(cuda::RowResult) / 4}}};
          }};
}

std::vector<SamplingRow> Seeded(int64_t count, const SamplingRow& row) {
  std::vector<SamplingRow> rows(static_cast<size_t>(count), row);
  for (size_t i = 0; i < rows.size(); ++i) rows[i].seed = i;
  return rows;
}

}  // namespace

std::vector<KernelCase> SamplingCases(const BenchModel& model) {
  const int64_t many = std::min<int64_t>(64, model.max_sequences);
  const auto target = static_cast<int32_t>(model.vocab / 2);
  return {
      RowsCase(model, "greedy", Seeded(1, {.temperature = 0})),
      RowsCase(model, "greedy", Seeded(many, {.temperature = 0})),
      RowsCase(model, "temperature", Seeded(many, {.temperature = 0.8f})),
      RowsCase(model, "top-p", Seeded(many, {.temperature = 0.8f, .top_p = 0.9f})),
      RowsCase(model, "top-k and top-p", Seeded(many, {.temperature = 0.8f, .top_k = 50, .top_p = 0.9f})),
      RowsCase(model, "temperature, 5 log-probabilities", Seeded(many, {.temperature = 0.8f, .num_top_logprobs = 5})),
      RowsCase(model, "5 log-probabilities",
               std::vector<ScoringRow>(static_cast<size_t>(many), {.target = target, .num_top_logprobs = 5}))};
}

}  // namespace switchyard
