#include "kernels/cuda/backend.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/launch_failure.h"
#include "kernels/cuda/offloaded_experts.h"
#include "kernels/cuda/quantized_weights.h"
#include "kernels/cuda/status.h"

namespace switchyard::cuda {

absl::StatusOr<std::unique_ptr<Backend>> CudaBackend::Create(const CudaBackendOptions& options) {
  CHECK(options.activation_dtype == DType::kBFloat16 || options.activation_dtype == DType::kFloat16);
  cudaDeviceProp properties{};
  absl::Status status =
      ToStatus(cudaSetDevice(options.device_index), absl::StrCat("--gpus: GPU ", options.device_index));
  if (status.ok()) status = ToStatus(cudaGetDeviceProperties(&properties, options.device_index), "device properties");
  if (!status.ok()) return status;
  if (properties.major < 8) {
    return absl::FailedPreconditionError(absl::StrCat(
        "GPU ", options.device_index, " (", properties.name, ") has compute capability ", properties.major, ".",
        properties.minor, "; 8.0 is the least (RTX 30 series, A100 and newer): choose another with --gpus"));
  }
  cudaStream_t stream = nullptr;
  status = ToStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  if (!status.ok()) return status;
  absl::StatusOr<Arena> arena = Arena::Create(options.arena_bytes);
  absl::StatusOr<Transfers> transfers = arena.ok() ? Transfers::Create(stream) : arena.status();
  if (!transfers.ok()) {
    (void)cudaStreamDestroy(stream);
    return transfers.status();
  }
  return std::unique_ptr<Backend>(
      new CudaBackend(options, properties, stream, *std::move(arena), *std::move(transfers)));
}

CudaBackend::CudaBackend(const CudaBackendOptions& options, const cudaDeviceProp& properties, cudaStream_t stream,
                         Arena arena, Transfers transfers)
    : device_(options.device_index),
      dtype_(options.activation_dtype),
      num_multiprocessors_(properties.multiProcessorCount),
      description_(absl::StrCat("cuda ", properties.name, " (sm_", properties.major, properties.minor, "), ",
                                dtype_ == DType::kBFloat16 ? "bfloat16" : "float16")),
      stream_(stream),
      offload_(options.offload),
      arena_(std::move(arena)),
      transfers_(std::move(transfers)),
      copies_(options.device_index),
      weights_{.arena = arena_, .copies = copies_, .stream = stream, .stored = options.activation_dtype} {}

CudaBackend::~CudaBackend() {
  (void)cudaSetDevice(device_);
  (void)cudaStreamSynchronize(stream_);
  (void)cudaStreamDestroy(stream_);
  if (offload_copies_ != nullptr) (void)cudaStreamDestroy(offload_copies_);
}

absl::Status CudaBackend::CopyFromHost(ConstTensorView host, TensorView device) {
  CHECK_EQ(host.bytes(), device.bytes());
  if (recording_) return absl::FailedPreconditionError("a copy from the host cannot be recorded");
  return transfers_.Upload(host.data(), host.bytes(), device.data());
}

absl::Status CudaBackend::CopyToHost(ConstTensorView device, TensorView host) {
  CHECK_EQ(host.bytes(), device.bytes());
  if (recording_) return absl::FailedPreconditionError("a copy to the host cannot be recorded");
  return transfers_.Download(device.data(), device.bytes(), host.data());
}

absl::StatusOr<Buffer> CudaBackend::AllocateStaging(size_t bytes) {
  void* data = nullptr;
  absl::Status status = ToStatus(cudaMallocHost(&data, std::max<size_t>(bytes, 1)), "pinned host memory");
  if (!status.ok()) return status;
  return Buffer(data, bytes, [](void* pinned) { (void)cudaFreeHost(pinned); });
}

void CudaBackend::Clear(TensorView tensor) {
  if (tensor.bytes() == 0) return;
  Note(ToStatus(cudaMemsetAsync(tensor.data(), 0, tensor.bytes(), stream_), "cudaMemsetAsync"));
}

absl::Status CudaBackend::Synchronize() {
  if (recording_) return absl::FailedPreconditionError("a wait for the device cannot be recorded");
  failure_.Update(ToStatus(TakeLaunchFailure(), "launch of a kernel"));
  failure_.Update(ToStatus(cudaStreamSynchronize(stream_), "GPU"));
  return std::exchange(failure_, absl::OkStatus());
}

absl::Status CudaBackend::Reserve(const BackendLimits& limits) {
  layout_ = MakeScratchLayout(limits, dtype_);
  absl::StatusOr<Buffer> scratch = arena_.Allocate(layout_.total_bytes);
  if (!scratch.ok()) return scratch.status();
  scratch_ = *std::move(scratch);
  absl::StatusOr<std::unique_ptr<DenseGemm>> gemm =
      CreateDenseGemm(stream_, Scratch(layout_.gemm_workspace), layout_.gemm_workspace.bytes);
  if (!gemm.ok()) return gemm.status();
  gemm_ = *std::move(gemm);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RecordedWork>> CudaBackend::Record(const std::function<absl::Status()>& body) {
  recording_ = true;
  absl::StatusOr<std::unique_ptr<RecordedWork>> graph = Graph::Capture(stream_, body);
  recording_ = false;
  failure_.Update(ToStatus(TakeLaunchFailure(), "launch of a kernel"));
  const absl::Status failure = std::exchange(failure_, absl::OkStatus());
  if (graph.ok() && !failure.ok()) return failure;
  return graph;
}

absl::Status CudaBackend::Replay(RecordedWork& work) { return static_cast<Graph&>(work).Launch(stream_); }

absl::StatusOr<std::unique_ptr<Matrix>> CudaBackend::CreateMatrix(const MatrixSpec& spec) {
  if (!spec.quantization.is_dense()) return QuantizedDeviceMatrix::Create(spec, weights_);
  return DeviceMatrix::Create(spec, weights_);
}

absl::StatusOr<std::unique_ptr<ExpertWeights>> CudaBackend::CreateExperts(const ExpertWeightsSpec& spec) {
  if (offload_.applies_to(spec)) {
    if (offload_copies_ == nullptr) {
      absl::Status status =
          ToStatus(cudaStreamCreateWithFlags(&offload_copies_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
      if (!status.ok()) return status;
    }
    return OffloadedDeviceExperts::Create(spec, offload_, weights_, offload_copies_, transfers_);
  }
  const bool is_dense = spec.gate_up.is_dense() && spec.down.is_dense();
  if (!is_dense) return QuantizedDeviceExperts::Create(spec, weights_);
  return DeviceExpertWeights::Create(spec, weights_);
}

}  // namespace switchyard::cuda

namespace switchyard {

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaBackendOptions& options) {
  return cuda::CudaBackend::Create(options);
}

}  // namespace switchyard
