// Experts and dense projections with quantised weights, in both forms: what ChooseQuantizedForm chooses from.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "bench/gpu_kernel_cases.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/quantized_columns.h"
#include "kernels/cuda/quantized_experts.h"
#include "kernels/quantization/quantized_rows.h"

namespace switchyard {
namespace {

using cuda::QuantizedForm;
using cuda::QuantizedMatrix;

struct Format {
  const char* name;
  Quantization quantization;
};

std::vector<Format> Formats() {
  return {{"NF4", {.format = WeightFormat::kNf4, .group_size = 64, .double_quantized = true}},
          {"INT4", {.format = WeightFormat::kInt4, .group_size = 128}},
          {"INT4 asymmetric", {.format = WeightFormat::kInt4, .group_size = 128, .has_zeros = true}},
          {"INT8", {.format = WeightFormat::kInt8, .group_size = 128}}};
}

const char* Name(QuantizedForm form) { return form == QuantizedForm::kStreaming ? "streaming" : "tiled"; }

// Weights of deviation 1 / sqrt(columns).
QuantizedMatrix RandomMatrices(const Quantization& quantization, int64_t rows, int64_t columns, int64_t count,
                               BenchDevice& device) {
  void* memory = device.inputs.Bytes(cuda::QuantizedBytes(quantization, rows, columns, count));
  QuantizedMatrix first = cuda::ViewQuantized(quantization, rows, columns, count, memory);
  if (first.dynamic_map != nullptr) {
    const std::span<const float, 256> map = DynamicMap();
    first.dynamic_map = device.inputs.Upload(std::vector<float>(map.begin(), map.end()));
  }
  if (device.inputs.status().ok()) {
    cuda::FillRandomQuantized(first, count, 1, 1.0f / std::sqrt(static_cast<float>(columns)), device.stream);
  }
  return first;
}

KernelCase ExpertsCase(const BenchModel& model, const Format& format, int64_t local, int64_t rows, QuantizedForm form) {
  const Quantization quantization = format.quantization;
  const auto prepare = [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
    const int64_t pairs = rows * model.top_k;
    const int64_t sets = SlotSets(model, rows, device);
    const std::vector<int32_t> slots = RandomSlots(sets * rows, model.top_k, model.num_experts);
    cuda::RunQuantizedExpertsArgs args = {
        .dtype = device.dtype,
        .num_rows = rows,
        .top_k = model.top_k,
        .num_local_experts = local,
        .rows = device.inputs.RandomHalves(device.dtype, rows * model.hidden),
        .weights = device.inputs.Upload(RandomRouterWeights(pairs)),
        .gate_up = RandomMatrices(quantization, 2 * model.intermediate, model.hidden, local, device),
        .down = RandomMatrices(quantization, model.hidden, model.intermediate, local, device),
        .num_multiprocessors = device.num_multiprocessors,
        .form = form,
        .scratch = device.inputs.Bytes(
            cuda::RunExpertsScratchBytes(rows, model.top_k, model.hidden, model.intermediate, local)),
        .out = device.inputs.Uninitialized<uint16_t>(rows * model.hidden)};
    const int32_t* slots_on_device = device.inputs.Upload(slots);
    const MeanLoad load = CountLoad(slots, sets, local);
    // Codes and scales of the experts that have rows; x read and out written.
    const double weight_bytes = load.active_experts * static_cast<double>(args.gate_up.stride + args.down.stride);
    return KernelRun{
        .launch =
            [=, stream = device.stream](int64_t set) {
              cuda::RunQuantizedExpertsArgs of_set = args;
              of_set.slots = slots_on_device + set * pairs;
              cuda::RunQuantizedExperts(of_set, stream);
              return absl::OkStatus();
            },
        .num_sets = sets,
        .streamed_bytes = weight_bytes,
        .min_bytes = weight_bytes + static_cast<double>(rows * model.hidden) * 2 * 2,
        .min_operations = load.entries * 3 * 2 * static_cast<double>(model.hidden * model.intermediate),
        .outputs = {{.name = "out", .data = args.out, .dtype = device.dtype, .row_elements = rows * model.hidden}}};
  };
  return {absl::StrCat("RunExperts ", format.name, " ", Name(form), ", ", rows, " rows, ", local, " local"), prepare,
          std::nullopt};
}

KernelCase LinearCase(const char* name, int64_t in, int64_t out, const Format& format, int64_t rows,
                      QuantizedForm form) {
  const Quantization quantization = format.quantization;
  const auto prepare = [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
    const auto weight_bytes = static_cast<double>(cuda::QuantizedBytes(quantization, out, in, 1));
    const int64_t sets = device.Sets(weight_bytes);
    const cuda::QuantizedLinearArgs args = {
        .dtype = device.dtype,
        .y_dtype = device.dtype,
        .num_rows = rows,
        .weight = RandomMatrices(quantization, out, in, sets, device),
        .x = device.inputs.RandomHalves(device.dtype, rows * in),
        .y = device.inputs.Uninitialized<uint16_t>(rows * out),
        .num_multiprocessors = device.num_multiprocessors,
        .form = form,
    };
    return KernelRun{.launch =
                         [=, stream = device.stream](int64_t set) {
                           cuda::QuantizedLinearArgs of_set = args;
                           of_set.weight = cuda::NthMatrix(args.weight, set);
                           cuda::QuantizedLinear(of_set, stream);
                           return absl::OkStatus();
                         },
                     .num_sets = sets,
                     .streamed_bytes = weight_bytes,
                     .min_bytes = weight_bytes + static_cast<double>(rows * (in + out)) * 2,
                     .min_operations = 2.0 * static_cast<double>(rows * in * out),
                     .outputs = {{.name = "y", .data = args.y, .dtype = device.dtype, .row_elements = rows * out}}};
  };
  return {absl::StrCat("Linear ", format.name, " ", name, " ", Name(form), ", ", rows, " rows"), prepare, std::nullopt};
}

}  // namespace

std::vector<KernelCase> QuantizedCases(const BenchModel& model) {
  std::vector<KernelCase> cases;
  for (const Format& format : Formats()) {
    for (const int64_t rows : Bounded({1, 2, 8, 16, 32, 64, 128, 256, 1024, 4096}, model.max_tokens)) {
      for (const QuantizedForm form : {QuantizedForm::kStreaming, QuantizedForm::kTiled}) {
        // Each form is timed a step beyond where it is of use.
        if (form == QuantizedForm::kStreaming ? rows > 256 : rows < 8) continue;
        cases.push_back(ExpertsCase(model, format, model.num_experts, rows, form));
      }
    }
    cases.push_back(ExpertsCase(model, format, model.num_experts / 2, 1, QuantizedForm::kStreaming));
    for (const int64_t rows : Bounded({1, 8, 16, 64, 4096}, model.max_tokens)) {
      const QuantizedForm form = cuda::ChooseQuantizedForm(format.quantization.format, rows, 1);
      cases.push_back(LinearCase("qkv", model.hidden, model.qkv_width(), format, rows, form));
      cases.push_back(LinearCase("attention output", model.attention_width(), model.hidden, format, rows, form));
    }
  }
  return cases;
}

}  // namespace switchyard
