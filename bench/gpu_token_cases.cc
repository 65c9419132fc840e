// Kernels whose work is proportional to the tokens alone. Bound: memory, in all but name for a few tokens.
#include "absl/strings/str_cat.h"
#include "bench/gpu_kernel_cases.h"
#include "kernels/cuda/fill.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/router.h"
#include "kernels/cuda/rows.h"

namespace switchyard {
namespace {

constexpr float kEps = 1e-5f;
// Of what is added to its target at every launch, so that thousands of them stay small.
constexpr float kSmall = 1e-3f;

KernelCase RmsNormCase(const BenchModel& model, int64_t tokens) {
  return {absl::StrCat("RmsNorm, ", tokens, " tokens"), [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
            const int64_t size = tokens * model.hidden;
            // x is float32, out half; the weight once.
            const double bytes = static_cast<double>(size) * (4 + 2) + static_cast<double>(model.hidden) * 4;
            const int64_t sets = device.ActivationSets(bytes);
            float* x = device.inputs.RandomFloats(sets * size);
            const float* weight = device.inputs.RandomFloats(model.hidden);
            void* out = device.inputs.Uninitialized<uint16_t>(sets * size);
            const cuda::RmsNormArgs args = {device.dtype, tokens, model.hidden, kEps, weight};
            return KernelRun{
                .launch =
                    [=, stream = device.stream](int64_t set) {
                      cuda::RmsNorm(args, x + set * size, HalfAt(out, set * size), stream);
                      return absl::OkStatus();
                    },
                .num_sets = sets,
                .min_bytes = bytes,
                .outputs = {{.name = "out", .data = out, .dtype = device.dtype, .row_elements = sets * size}}};
          }};
}

KernelCase AddRmsNormCase(const BenchModel& model, int64_t tokens) {
  return {absl::StrCat("AddRmsNorm, ", tokens, " tokens"), [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
            const int64_t size = tokens * model.hidden;
            // delta read, residual read and written in float32, out written; the weight once.
            const double bytes = static_cast<double>(size) * (2 + 4 + 4 + 2) + static_cast<double>(model.hidden) * 4;
            const int64_t sets = device.ActivationSets(bytes);
            void* delta = device.inputs.RandomHalves(device.dtype, sets * size, kSmall);
            float* residual = device.inputs.RandomFloats(sets * size);
            const float* weight = device.inputs.RandomFloats(model.hidden);
            void* out = device.inputs.Uninitialized<uint16_t>(sets * size);
            const cuda::RmsNormArgs args = {device.dtype, tokens, model.hidden, kEps, weight};
            return KernelRun{
                .launch =
                    [=, stream = device.stream](int64_t set) {
                      cuda::AddRmsNorm(args, HalfAt(delta, set * size), residual + set * size, HalfAt(out, set * size),
                                       stream);
                      return absl::OkStatus();
                    },
                .num_sets = sets,
                .min_bytes = bytes,
                .outputs = {{.name = "residual",
                             .data = residual,
                             .dtype = DType::kFloat32,
                             .row_elements = sets * size,
                             .is_input_too = true},
                            {.name = "out", .data = out, .dtype = device.dtype, .row_elements = sets * size}}};
          }};
}

KernelCase RouterCase(const BenchModel& model, int64_t tokens) {
  return {absl::StrCat("Route, ", tokens, " tokens"), [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
            const int64_t router_size = model.num_experts * model.hidden;
            const int64_t x_size = tokens * model.hidden;
            const double router_bytes = static_cast<double>(router_size) * 2;
            const int64_t sets = device.Sets(router_bytes + static_cast<double>(x_size) * 2);
            // Few tokens: x was just written. Many: a set has its own.
            const int64_t x_sets = device.ActivationSets(static_cast<double>(x_size) * 2);
            void* x = device.inputs.RandomHalves(device.dtype, x_sets * x_size);
            void* router = device.inputs.RandomHalves(device.dtype, sets * router_size, 0.02f);
            auto* experts = device.inputs.Uninitialized<int32_t>(tokens * model.top_k);
            auto* weights = device.inputs.Uninitialized<float>(tokens * model.top_k);
            auto* counts = static_cast<int32_t*>(device.inputs.Bytes(static_cast<size_t>(model.num_experts) * 4, 0));
            void* scratch = device.inputs.Bytes(cuda::RouteScratchBytes(model.num_experts), 0);
            const int64_t pairs = tokens * model.top_k;
            const cuda::RouteArgs args = {.dtype = device.dtype,
                                          .num_tokens = tokens,
                                          .hidden_size = model.hidden,
                                          .num_experts = model.num_experts,
                                          .top_k = model.top_k,
                                          .experts = experts,
                                          .weights = weights,
                                          .counts = counts,
                                          .scratch = scratch};
            return KernelRun{
                .launch =
                    [=, stream = device.stream](int64_t set) {
                      cuda::RouteArgs of_set = args;
                      of_set.x = HalfAt(x, set % x_sets * x_size);
                      of_set.router = HalfAt(router, set * router_size);
                      cuda::Route(of_set, stream);
                      return absl::OkStatus();
                    },
                .num_sets = sets,
                .streamed_bytes = router_bytes,
                .min_bytes = static_cast<double>(x_size) * 2 + router_bytes + static_cast<double>(pairs) * 8,
                .min_operations = 2.0 * static_cast<double>(x_size) * static_cast<double>(model.num_experts),
                .outputs = {{.name = "experts",
                             .data = experts,
                             .dtype = DType::kInt32,
                             .row_elements = pairs,
                             .int_limit = model.num_experts},
                            {.name = "weights", .data = weights, .dtype = DType::kFloat32, .row_elements = pairs}}};
          }};
}

KernelCase EmbedCase(const BenchModel& model, int64_t tokens) {
  return {
      absl::StrCat("EmbedTokens, ", tokens, " tokens"), [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
        void* table = device.inputs.RandomHalves(device.dtype, model.vocab * model.hidden);
        const int64_t sets = device.ActivationSets(static_cast<double>(tokens * model.hidden) * 6);
        std::vector<int32_t> ids_of_sets = RandomOrder(sets * tokens);
        for (int32_t& id : ids_of_sets) id %= static_cast<int32_t>(model.vocab);
        const int32_t* ids = device.inputs.Upload(ids_of_sets);
        float* out = device.inputs.Uninitialized<float>(tokens * model.hidden);
        return KernelRun{
            .launch =
                [=, stream = device.stream, dtype = device.dtype](int64_t set) {
                  cuda::EmbedTokens(dtype, table, ids + set * tokens, tokens, model.hidden, out, stream);
                  return absl::OkStatus();
                },
            .num_sets = sets,
            .min_bytes = static_cast<double>(tokens * model.hidden) * (2 + 4),
            .outputs = {{.name = "out", .data = out, .dtype = DType::kFloat32, .row_elements = tokens * model.hidden}}};
      }};
}

// Of the exchange: a row for each expert that a token chose, gathered from the tokens or summed for them.
KernelCase GatherCase(const BenchModel& model, int64_t tokens) {
  return {absl::StrCat("GatherRows, ", tokens * model.top_k, " of ", tokens, " rows"),
          [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
            const int64_t rows = tokens * model.top_k;
            std::vector<int32_t> index = RandomOrder(rows);
            for (int32_t& i : index) i /= static_cast<int32_t>(model.top_k);
            void* src = device.inputs.RandomHalves(device.dtype, tokens * model.hidden);
            const int32_t* on_device = device.inputs.Upload(index);
            void* dst = device.inputs.Uninitialized<uint16_t>(rows * model.hidden);
            return KernelRun{
                .launch =
                    [=, stream = device.stream](int64_t) {
                      cuda::GatherRows(src, on_device, rows, model.hidden * 2, dst, stream);
                      return absl::OkStatus();
                    },
                .min_bytes = static_cast<double>(tokens + rows) * static_cast<double>(model.hidden) * 2,
                .outputs = {{.name = "dst", .data = dst, .dtype = device.dtype, .row_elements = rows * model.hidden}}};
          }};
}

KernelCase SumRowsCase(const BenchModel& model, int64_t tokens) {
  return {
      absl::StrCat("SumRows, ", tokens * model.top_k, " to ", tokens, " rows"),
      [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
        const int64_t rows = tokens * model.top_k;
        std::vector<int32_t> begin;
        for (int64_t t = 0; t <= tokens; ++t) begin.push_back(static_cast<int32_t>(t * model.top_k));
        void* src = device.inputs.RandomHalves(device.dtype, rows * model.hidden);
        const int32_t* begins = device.inputs.Upload(begin);
        const int32_t* index = device.inputs.Upload(RandomOrder(rows));
        void* dst = device.inputs.Uninitialized<uint16_t>(tokens * model.hidden);
        return KernelRun{
            .launch =
                [=, stream = device.stream, dtype = device.dtype](int64_t) {
                  cuda::SumRows(dtype, src, begins, index, tokens, model.hidden, dst, stream);
                  return absl::OkStatus();
                },
            .min_bytes = static_cast<double>(tokens + rows) * static_cast<double>(model.hidden) * 2,
            .outputs = {{.name = "dst", .data = dst, .dtype = device.dtype, .row_elements = tokens * model.hidden}}};
      }};
}

KernelCase AddCase(const BenchModel& model, int64_t tokens) {
  return {absl::StrCat("Add, ", tokens, " tokens"), [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
            const int64_t size = tokens * model.hidden;
            const double bytes = static_cast<double>(size) * (2 + 2 + 2);
            const int64_t sets = device.ActivationSets(bytes);
            void* x = device.inputs.RandomHalves(device.dtype, sets * size, kSmall);
            void* acc = device.inputs.RandomHalves(device.dtype, sets * size);
            return KernelRun{.launch =
                                 [=, stream = device.stream, dtype = device.dtype](int64_t set) {
                                   cuda::Add(dtype, HalfAt(x, set * size), HalfAt(acc, set * size), size, stream);
                                   return absl::OkStatus();
                                 },
                             .num_sets = sets,
                             .min_bytes = bytes,
                             .outputs = {{.name = "acc",
                                          .data = acc,
                                          .dtype = device.dtype,
                                          .row_elements = sets * size,
                                          .is_input_too = true}}};
          }};
}

KernelCase FillCase(const BenchModel& model) {
  const int64_t size = 2 * model.intermediate * model.hidden;
  return {absl::StrCat("FillRandom, ", size, " elements"), [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
            void* data = device.inputs.Uninitialized<uint16_t>(size);
            return KernelRun{.launch =
                                 [=, stream = device.stream, dtype = device.dtype](int64_t) {
                                   cuda::FillRandom(dtype, data, size, 1, 1.0f, stream);
                                   return absl::OkStatus();
                                 },
                             .min_bytes = static_cast<double>(size) * 2,
                             .outputs = {{.name = "data", .data = data, .dtype = device.dtype, .row_elements = size}}};
          }};
}

}  // namespace

std::vector<KernelCase> TokenCases(const BenchModel& model) {
  std::vector<KernelCase> cases;
  const std::vector<int64_t> sizes = Bounded({1, 64, 4096}, model.max_tokens);
  for (const int64_t tokens : sizes) cases.push_back(RmsNormCase(model, tokens));
  for (const int64_t tokens : sizes) cases.push_back(AddRmsNormCase(model, tokens));
  // One, two and four tokens of a block where they are few; the general form.
  for (const int64_t tokens : Bounded({1, 8, 64, 256, 512, 4096}, model.max_tokens)) {
    cases.push_back(RouterCase(model, tokens));
  }
  for (const int64_t tokens : {sizes.front(), sizes.back()}) cases.push_back(EmbedCase(model, tokens));
  cases.push_back(GatherCase(model, sizes.back()));
  cases.push_back(SumRowsCase(model, sizes.back()));
  cases.push_back(AddCase(model, sizes.back()));
  cases.push_back(FillCase(model));
  return cases;
}

}  // namespace switchyard
