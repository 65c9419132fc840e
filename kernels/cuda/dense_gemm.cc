#include "kernels/cuda/dense_gemm.h"

#include <cublasLt.h>

#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace switchyard::cuda {
namespace {

absl::Status ToStatus(cublasStatus_t status, absl::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, ": ", cublasLtGetStatusString(status)));
}

cudaDataType_t CudaType(DType dtype) {
  switch (dtype) {
    case DType::kBFloat16:
      return CUDA_R_16BF;
    case DType::kFloat16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

struct MatmulDescDeleter {
  void operator()(cublasLtMatmulDescOpaque_t* desc) const { (void)cublasLtMatmulDescDestroy(desc); }
};
struct LayoutDeleter {
  void operator()(cublasLtMatrixLayoutOpaque_t* layout) const { (void)cublasLtMatrixLayoutDestroy(layout); }
};
struct PreferenceDeleter {
  void operator()(cublasLtMatmulPreferenceOpaque_t* preference) const {
    (void)cublasLtMatmulPreferenceDestroy(preference);
  }
};
struct HandleDeleter {
  void operator()(cublasLtContext* handle) const { (void)cublasLtDestroy(handle); }
};
using MatmulDesc = std::unique_ptr<cublasLtMatmulDescOpaque_t, MatmulDescDeleter>;
using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, LayoutDeleter>;
using Handle = std::unique_ptr<cublasLtContext, HandleDeleter>;

// cuBLASLt counts in columns: seen so, y^T [out, rows] = (W^T)^T x^T, and every matrix is as it lies in memory.
struct Plan {
  MatmulDesc desc;
  Layout weight;
  Layout x;
  Layout y;
  cublasLtMatmulAlgo_t algorithm{};
};

absl::StatusOr<Layout> MakeLayout(DType dtype, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t layout = nullptr;
  absl::Status status = ToStatus(cublasLtMatrixLayoutCreate(&layout, CudaType(dtype), static_cast<uint64_t>(rows),
                                                            static_cast<uint64_t>(columns), rows),
                                 "cublasLtMatrixLayoutCreate");
  if (!status.ok()) return status;
  return Layout(layout);
}

class CublasLtGemm final : public DenseGemm {
 public:
  CublasLtGemm(Handle handle, cudaStream_t stream, void* workspace, size_t workspace_bytes)
      : handle_(std::move(handle)), stream_(stream), workspace_(workspace), workspace_bytes_(workspace_bytes) {}

  absl::Status Multiply(const DenseGemmArgs& args) override {
    if (args.rows == 0 || args.out_features == 0) return absl::OkStatus();
    absl::StatusOr<const Plan*> plan = PlanFor(args);
    if (!plan.ok()) return plan.status();
    const float one = 1;
    const float zero = 0;
    return ToStatus(cublasLtMatmul(handle_.get(), (*plan)->desc.get(), &one, args.weight, (*plan)->weight.get(), args.x,
                                   (*plan)->x.get(), &zero, args.y, (*plan)->y.get(), args.y, (*plan)->y.get(),
                                   &(*plan)->algorithm, workspace_, workspace_bytes_, stream_),
                    "cublasLtMatmul");
  }

 private:
  using Key = std::tuple<DType, DType, int64_t, int64_t, int64_t>;

  absl::StatusOr<const Plan*> PlanFor(const DenseGemmArgs& args) {
    const Key key = {args.dtype, args.y_dtype, args.rows, args.out_features, args.in_features};
    const auto found = plans_.find(key);
    if (found != plans_.end()) return &found->second;
    absl::StatusOr<Plan> plan = MakePlan(args);
    if (!plan.ok()) return plan.status();
    return &plans_.emplace(key, *std::move(plan)).first->second;
  }

  absl::StatusOr<Plan> MakePlan(const DenseGemmArgs& args) {
    Plan plan;
    cublasLtMatmulDesc_t desc = nullptr;
    absl::Status status =
        ToStatus(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    if (!status.ok()) return status;
    plan.desc.reset(desc);
    const cublasOperation_t transpose = CUBLAS_OP_T;
    status = ToStatus(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose)),
                      "cublasLtMatmulDescSetAttribute");
    if (!status.ok()) return status;
    absl::StatusOr<Layout> weight = MakeLayout(args.dtype, args.in_features, args.out_features);
    if (!weight.ok()) return weight.status();
    absl::StatusOr<Layout> x = MakeLayout(args.dtype, args.in_features, args.rows);
    if (!x.ok()) return x.status();
    absl::StatusOr<Layout> y = MakeLayout(args.y_dtype, args.out_features, args.rows);
    if (!y.ok()) return y.status();
    plan.weight = *std::move(weight);
    plan.x = *std::move(x);
    plan.y = *std::move(y);

    cublasLtMatmulPreference_t created = nullptr;
    status = ToStatus(cublasLtMatmulPreferenceCreate(&created), "cublasLtMatmulPreferenceCreate");
    if (!status.ok()) return status;
    const std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, PreferenceDeleter> preference(created);
    status = ToStatus(cublasLtMatmulPreferenceSetAttribute(created, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                           &workspace_bytes_, sizeof(workspace_bytes_)),
                      "cublasLtMatmulPreferenceSetAttribute");
    if (!status.ok()) return status;
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    status = ToStatus(cublasLtMatmulAlgoGetHeuristic(handle_.get(), desc, plan.weight.get(), plan.x.get(), plan.y.get(),
                                                     plan.y.get(), created, 1, &result, &count),
                      "cublasLtMatmulAlgoGetHeuristic");
    if (!status.ok()) return status;
    if (count == 0) {
      return absl::InternalError(absl::StrCat("cuBLASLt knows no way to multiply [", args.rows, ", ", args.in_features,
                                              "] by [", args.in_features, ", ", args.out_features, "]"));
    }
    plan.algorithm = result.algo;
    return plan;
  }

  const Handle handle_;
  const cudaStream_t stream_;
  void* const workspace_;
  const size_t workspace_bytes_;
  std::map<Key, Plan> plans_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DenseGemm>> CreateDenseGemm(Stream stream, void* workspace, size_t workspace_bytes) {
  cublasLtHandle_t handle = nullptr;
  absl::Status status = ToStatus(cublasLtCreate(&handle), "cublasLtCreate");
  if (!status.ok()) return status;
  return std::make_unique<CublasLtGemm>(Handle(handle), stream, workspace, workspace_bytes);
}

}  // namespace switchyard::cuda
