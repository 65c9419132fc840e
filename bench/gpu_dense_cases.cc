// The dense projections of a layer, whole and halved as tensor-parallel attention over two ranks has them, and the
// language-model head.
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/gpu_kernel_cases.h"
#include "kernels/cuda/dense_gemm.h"
#include "kernels/cuda/memory_layout.h"

namespace switchyard {
namespace {

struct Projection {
  const char* name;
  int64_t in_features;
  int64_t out_features;
  bool has_float_output;
};

KernelCase DenseCase(const Projection& projection, int64_t rows) {
  const int64_t in = projection.in_features;
  const int64_t out = projection.out_features;
  return {absl::StrCat("Dense ", projection.name, ", ", rows, " rows"),
          [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
            const int64_t weight_size = in * out;
            const double weight_bytes = static_cast<double>(weight_size) * 2;
            const int64_t sets = device.Sets(weight_bytes);
            void* x = device.inputs.RandomHalves(device.dtype, rows * in);
            void* weights = device.inputs.RandomHalves(device.dtype, sets * weight_size, 0.02f);
            const DType y_dtype = projection.has_float_output ? DType::kFloat32 : device.dtype;
            const auto y_bytes = static_cast<int64_t>(SizeOf(y_dtype));

            void* y = device.inputs.Bytes(static_cast<size_t>(rows * out * y_bytes));
            void* workspace = device.inputs.Bytes(cuda::kGemmWorkspaceBytes);
            absl::StatusOr<std::unique_ptr<cuda::DenseGemm>> gemm =
                cuda::CreateDenseGemm(device.stream, workspace, cuda::kGemmWorkspaceBytes);
            if (!gemm.ok()) return gemm.status();
            const cuda::DenseGemmArgs args = {.dtype = device.dtype,
                                              .y_dtype = y_dtype,
                                              .rows = rows,
                                              .out_features = out,
                                              .in_features = in,
                                              .x = x,
                                              .y = y};
            return KernelRun{.launch =
                                 [=, gemm = std::shared_ptr<cuda::DenseGemm>(*std::move(gemm))](int64_t set) {
                                   cuda::DenseGemmArgs of_set = args;
                                   of_set.weight = HalfAt(weights, set * weight_size);
                                   return gemm->Multiply(of_set);
                                 },
                             .num_sets = sets,
                             .streamed_bytes = weight_bytes,
                             .min_bytes = weight_bytes + static_cast<double>(rows * in) * 2 +
                                          static_cast<double>(rows * out * y_bytes),
                             .min_operations = 2.0 * static_cast<double>(rows) * static_cast<double>(weight_size),
                             .outputs = {{.name = "y", .data = y, .dtype = y_dtype, .row_elements = rows * out}}};
          }};
}

}  // namespace

std::vector<KernelCase> DenseCases(const BenchModel& model) {
  const Projection projections[] = {
      {"qkv", model.hidden, model.qkv_width(), false},
      {"qkv of half the heads", model.hidden, model.qkv_width() / 2, false},
      {"attention output", model.attention_width(), model.hidden, false},
      {"attention output of half the heads", model.attention_width() / 2, model.hidden, false},
      {"lm_head", model.hidden, model.vocab, true},
  };
  std::vector<KernelCase> cases;
  for (const Projection& projection : projections) {
    for (const int64_t rows : Bounded({1, 64, 4096}, model.max_tokens)) cases.push_back(DenseCase(projection, rows));
  }
  return cases;
}

}  // namespace switchyard
