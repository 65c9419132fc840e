// The experts of one layer: all on this GPU, or half of them, tokens choosing evenly and independently.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "bench/gpu_kernel_cases.h"
#include "kernels/cuda/expert_permutation.h"
#include "kernels/cuda/expert_sum.h"
#include "kernels/cuda/experts_scratch.h"

namespace switchyard {
namespace {

using cuda::ExpertForm;

KernelCase RunExpertsCase(const BenchModel& model, int64_t local, int64_t rows, ExpertForm form) {
  const auto prepare = [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
    const int64_t pairs = rows * model.top_k;
    const int64_t sets = SlotSets(model, rows, device);
    const std::vector<int32_t> slots = RandomSlots(sets * rows, model.top_k, model.num_experts);
    const int64_t matrix = model.hidden * model.intermediate;
    cuda::RunExpertsArgs args = {
        .dtype = device.dtype,
        .num_rows = rows,
        .top_k = model.top_k,
        .hidden_size = model.hidden,
        .intermediate_size = model.intermediate,
        .num_local_experts = local,
        .rows = device.inputs.RandomHalves(device.dtype, rows * model.hidden),
        .weights = device.inputs.Upload(RandomRouterWeights(pairs)),
        .gate_up = device.inputs.RandomHalves(device.dtype, local * 2 * matrix,
                                              1.0f / std::sqrt(static_cast<float>(model.hidden))),
        .down = device.inputs.RandomHalves(device.dtype, local * matrix,
                                           1.0f / std::sqrt(static_cast<float>(model.intermediate))),
        .num_multiprocessors = device.num_multiprocessors,
        .form = form,
        .scratch = device.inputs.Bytes(
            cuda::RunExpertsScratchBytes(rows, model.top_k, model.hidden, model.intermediate, local)),
        .out = device.inputs.Uninitialized<uint16_t>(rows * model.hidden)};
    const int32_t* slots_on_device = device.inputs.Upload(slots);
    const MeanLoad load = CountLoad(slots, sets, local);
    // w1, w3 and w2 of the experts that have rows; x read and out written. What passes between the two products need
    // not reach memory.
    const double weight_bytes = load.active_experts * 3 * static_cast<double>(matrix) * 2;
    return KernelRun{
        .launch =
            [=, stream = device.stream](int64_t set) {
              cuda::RunExpertsArgs of_set = args;
              of_set.slots = slots_on_device + set * pairs;
              cuda::RunExperts(of_set, stream);
              return absl::OkStatus();
            },
        .num_sets = sets,
        .streamed_bytes = weight_bytes,
        .min_bytes = weight_bytes + static_cast<double>(rows * model.hidden) * 2 * 2,
        .min_operations = load.entries * 3 * 2 * static_cast<double>(matrix),
        .outputs = {{.name = "out", .data = args.out, .dtype = device.dtype, .row_elements = rows * model.hidden}}};
  };
  return {absl::StrCat("RunExperts ", form == ExpertForm::kStreaming ? "streaming" : "tiled", ", ", rows, " rows, ",
                       local, " local"),
          prepare, ExpertFormCase{rows, local, form}};
}

// The permutation of all experts' entries, in memory of its own.
cuda::ExpertPermutation MakePermutation(const BenchModel& model, int64_t rows, GpuInputs& inputs) {
  constexpr int64_t kNarrow = 8;  // the activations in the scratch are not used
  const size_t bytes =
      cuda::DivideExpertsScratch(rows, model.top_k, kNarrow, kNarrow, model.num_experts, nullptr).bytes;
  return cuda::DivideExpertsScratch(rows, model.top_k, kNarrow, kNarrow, model.num_experts, inputs.Bytes(bytes))
      .permutation;
}

KernelCase PermuteCase(const BenchModel& model, int64_t rows) {
  return {
      absl::StrCat("PermuteExperts, ", rows, " rows"), [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
        const int64_t pairs = rows * model.top_k;
        const int64_t sets = SlotSets(model, rows, device);
        const int32_t* slots = device.inputs.Upload(RandomSlots(sets * rows, model.top_k, model.num_experts));
        const float* weights = device.inputs.Upload(RandomRouterWeights(pairs));
        const cuda::ExpertPermutation lists = MakePermutation(model, rows, device.inputs);
        return KernelRun{
            .launch =
                [=, stream = device.stream](int64_t set) {
                  cuda::PermuteExperts(
                      {.top_k = model.top_k, .slots = slots + set * pairs, .weights = weights, .permutation = lists},
                      stream);
                  return absl::OkStatus();
                },
            .num_sets = sets,
            // Slot and weight read; row, weight and place written.
            .min_bytes = static_cast<double>(pairs) * (4 + 4 + 4 + 4 + 4),
            .outputs = {
                {.name = "offsets",
                 .data = lists.offsets,
                 .dtype = DType::kInt32,
                 .row_elements = model.num_experts + 1,
                 .int_limit = pairs + 1},
                {.name = "entry_row",
                 .data = lists.entry_row,
                 .dtype = DType::kInt32,
                 .row_elements = pairs,
                 .int_limit = rows},
                {.name = "entry_weight", .data = lists.entry_weight, .dtype = DType::kFloat32, .row_elements = pairs},
                {.name = "place",
                 .data = lists.place,
                 .dtype = DType::kInt32,
                 .row_elements = pairs,
                 .int_limit = pairs}}};
      }};
}

KernelCase SumExpertsCase(const BenchModel& model, int64_t rows) {
  return {absl::StrCat("SumExperts, ", rows, " rows"), [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
            const int64_t pairs = rows * model.top_k;
            const int64_t out_size = rows * model.hidden;
            // y read, out written.
            const double bytes = static_cast<double>((pairs + rows) * model.hidden) * 2;
            const int64_t sets = device.ActivationSets(bytes);
            const int32_t* place = device.inputs.Upload(RandomOrder(pairs));
            void* y = device.inputs.RandomHalves(device.dtype, sets * pairs * model.hidden);
            void* out = device.inputs.Uninitialized<uint16_t>(sets * out_size);
            return KernelRun{
                .launch =
                    [=, stream = device.stream, dtype = device.dtype](int64_t set) {
                      cuda::SumExperts({.dtype = dtype,
                                        .num_rows = rows,
                                        .top_k = model.top_k,
                                        .hidden_size = model.hidden,
                                        .place = place,
                                        .y = HalfAt(y, set * pairs * model.hidden),
                                        .out = HalfAt(out, set * out_size)},
                                       stream);
                      return absl::OkStatus();
                    },
                .num_sets = sets,
                .min_bytes = bytes,
                .outputs = {{.name = "out", .data = out, .dtype = device.dtype, .row_elements = sets * out_size}}};
          }};
}

}  // namespace

std::vector<KernelCase> ExpertCases(const BenchModel& model) {
  std::vector<KernelCase> cases;
  // The form of few pairs, then one block of many, then (beyond 8,192 pairs) several.
  for (const int64_t rows : Bounded({1, 64, 1024, 4096, 8192}, model.max_tokens)) {
    cases.push_back(PermuteCase(model, rows));
    cases.push_back(SumExpertsCase(model, rows));
  }
  for (const int64_t local : {model.num_experts, model.num_experts / 2}) {
    for (const int64_t rows : Bounded({1, 2, 8, 16, 32, 64, 128, 256, 512, 1024, 4096}, model.max_tokens)) {
      for (const ExpertForm form : {ExpertForm::kStreaming, ExpertForm::kTiled}) {
        cases.push_back(RunExpertsCase(model, local, rows, form));
      }
    }
  }
  return cases;
}

}  // namespace switchyard
