#include "kernels/device_info.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "kernels/check.h"
#include "kernels/cuda/status.h"

namespace switchyard {
namespace {

using cuda::ToStatus;

std::string Uuid(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (size_t i = 0; i < sizeof(uuid.bytes); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    absl::StrAppendFormat(&text, "%02x", static_cast<unsigned char>(uuid.bytes[i]));
  }
  return text;
}

absl::StatusOr<GpuInfo> Describe(int index, const std::string& driver) {
  absl::Status status = ToStatus(cudaSetDevice(index), absl::StrCat("GPU ", index));
  if (!status.ok()) return status;
  cudaDeviceProp properties{};
  status = ToStatus(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  if (status.ok()) status = ToStatus(cudaMemGetInfo(&free_bytes, &total_bytes), absl::StrCat("memory of GPU ", index));
  if (!status.ok()) return status;
  return GpuInfo{.index = index,
                 .name = properties.name,
                 .major = properties.major,
                 .minor = properties.minor,
                 .multiprocessors = properties.multiProcessorCount,
                 .total_bytes = static_cast<int64_t>(total_bytes),
                 .free_bytes = static_cast<int64_t>(free_bytes),
                 .uuid = Uuid(properties.uuid),
                 .driver_version = driver};
}

// Memory of one GPU that frees itself.
struct DeviceFree {
  void operator()(void* data) const { (void)cudaFree(data); }
};
using DeviceMemory = std::unique_ptr<void, DeviceFree>;

absl::StatusOr<DeviceMemory> AllocateOn(int device, size_t bytes) {
  void* data = nullptr;
  absl::Status status = ToStatus(cudaSetDevice(device), "cudaSetDevice");
  if (status.ok()) status = ToStatus(cudaMalloc(&data, bytes), absl::StrCat("memory of GPU ", device));
  if (!status.ok()) return status;
  return DeviceMemory(data);
}

// Without it copies between the two are staged through the host, and would say nothing about the direct way.
absl::Status EnablePeerAccess(int from, int to) {
  for (const auto& [here, there] : {std::pair(from, to), std::pair(to, from)}) {
    absl::Status status = ToStatus(cudaSetDevice(here), "cudaSetDevice");
    if (!status.ok()) return status;
    const cudaError_t error = cudaDeviceEnablePeerAccess(there, 0);
    if (error == cudaErrorPeerAccessAlreadyEnabled) {
      (void)cudaGetLastError();
      continue;
    }
    status = ToStatus(error, absl::StrCat("direct access of GPU ", here, " to GPU ", there));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<GpuInfo>> ListGpus(std::span<const int> indices) {
  int count = 0;
  absl::Status status = ToStatus(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  int driver = 0;
  if (status.ok()) status = ToStatus(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  if (!status.ok()) return status;
  std::vector<GpuInfo> gpus;
  std::set<int> wanted(indices.begin(), indices.end());
  for (int i = 0; i < count && indices.empty(); ++i) wanted.insert(i);
  for (const int i : wanted) {
    if (i < 0 || i >= count) {
      return absl::NotFoundError(absl::StrCat("there is no GPU ", i, ": this process sees ", count,
                                              ", numbered from 0; `nvidia-smi -L` lists them"));
    }
    absl::StatusOr<GpuInfo> gpu = Describe(i, absl::StrCat(driver / 1000, ".", driver % 1000 / 10));
    if (!gpu.ok()) return gpu.status();
    gpus.push_back(*std::move(gpu));
  }
  return gpus;
}

absl::StatusOr<PeerCopy> MeasurePeerCopy(int from, int to) {
  constexpr size_t kBytes = size_t{64} << 20;
  constexpr int kRepeats = 5;
  int can_access = 0;
  absl::Status status = ToStatus(cudaDeviceCanAccessPeer(&can_access, to, from), "cudaDeviceCanAccessPeer");
  if (!status.ok()) return status;
  absl::StatusOr<DeviceMemory> source = AllocateOn(from, kBytes);
  if (!source.ok()) return source.status();
  absl::StatusOr<DeviceMemory> target = AllocateOn(to, kBytes);
  if (!target.ok()) return target.status();

  if (can_access != 0) status = EnablePeerAccess(from, to);
  if (!status.ok()) return status;
  std::vector<uint32_t> pattern(kBytes / sizeof(uint32_t));
  for (size_t i = 0; i < pattern.size(); ++i) pattern[i] = static_cast<uint32_t>(i) * 2654435761u;
  status = ToStatus(cudaMemcpy(source->get(), pattern.data(), kBytes, cudaMemcpyHostToDevice), "copy to the GPU");
  double best = 0;
  for (int i = 0; i < kRepeats && status.ok(); ++i) {
    const absl::Time begin = absl::Now();
    status = ToStatus(cudaMemcpyPeerAsync(target->get(), to, source->get(), from, kBytes, nullptr), "peer copy");
    status.Update(ToStatus(cudaDeviceSynchronize(), "peer copy"));
    best = std::max(best, static_cast<double>(kBytes) / absl::ToDoubleSeconds(absl::Now() - begin));
  }
  std::vector<uint32_t> arrived(pattern.size());
  if (status.ok()) {
    status = ToStatus(cudaMemcpy(arrived.data(), target->get(), kBytes, cudaMemcpyDeviceToHost), "copy from the GPU");
  }
  if (!status.ok()) return status;
  return PeerCopy{.peer_access = can_access != 0, .intact = arrived == pattern, .bytes_per_second = best};
}

}  // namespace switchyard
