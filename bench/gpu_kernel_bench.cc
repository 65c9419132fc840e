// Times every CUDA kernel at Mixtral-8x7B's sizes, each beside the limit that binds it on this card, and prints a
// Markdown table. The exit code is 1 if any case failed, or left an output unwritten or not finite.
//
// Inputs are random. Weights, keys and values come from memory in every launch, as in a step: launches go through
// several sets of them that are larger than the L2 cache together, or the cache is overwritten before.
#include <cuda_runtime_api.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/gpu_kernel_cases.h"
#include "bench/gpu_limits.h"
#include "bench/gpu_timing.h"
#include "kernels/cuda/launch_failure.h"
#include "kernels/cuda/programmatic_launches.h"
#include "kernels/cuda/status.h"

namespace switchyard {
namespace {

struct Options {
  std::string filter;
  double seconds_per_case = 0.2;
  int device = 0;
  bool tiny = false;
};

// A launch takes this long in a graph whatever it does, roughly: below it the limits bind nothing.
constexpr double kLatencySeconds = 2e-6;
constexpr int64_t kMaxSets = 128;
// A cache keeps next to nothing of before once this many times its size has passed.
constexpr int64_t kCachesToEvict = 4;

// A dry run of every case: a model that emulation runs in seconds.
constexpr BenchModel kTinyModel = {.hidden = 64,
                                   .intermediate = 128,
                                   .num_heads = 4,
                                   .num_kv_heads = 2,
                                   .head_dim = 64,
                                   .vocab = 500,
                                   .max_tokens = 40,
                                   .max_context = 100,
                                   .max_sequences = 3};

class Bench {
 public:
  Bench(const Options& options, cuda::Stream stream, const cudaDeviceProp& properties)
      : options_(options), stream_(stream), properties_(properties) {
    // The limits of a card are not those of the dry run's sizes.
    if (!options.tiny) limits_ = MeasureGpuLimits(options.device, kDType);
  }

  // Whether no case failed.
  bool Run() {
    PrintHead();
    const BenchModel model = options_.tiny ? kTinyModel : BenchModel{};
    for (const auto& make : {TokenCases, DenseCases, AttentionCases, ExpertCases, QuantizedCases, SamplingCases}) {
      for (const KernelCase& kernel : make(model)) {
        if (kernel.name.find(options_.filter) != std::string::npos) RunCase(kernel);
      }
    }
    PrintExpertForms(model);
    if (num_failed_ > 0) std::printf("\n%d cases FAILED\n", num_failed_);
    return num_failed_ == 0;
  }

 private:
  static constexpr DType kDType = DType::kBFloat16;

  void PrintHead() const {
    std::printf("%s, %s", properties_.name, Name(kDType));
    if (limits_) {
      std::printf("; limits measured: copies %.0f GB/s, matrix products %.1f TFLOP/s",
                  limits_->copy_bytes_per_second * 1e-9, limits_->matrix_flops_per_second * 1e-12);
    }
    std::printf("\n\n| case | us | spread | at least MB | at least GFLOP | bound | limit us | of limit |\n");
    std::printf("|---|--:|--:|--:|--:|---|--:|--:|\n");
    std::fflush(stdout);
  }

  void RunCase(const KernelCase& kernel) {
    const absl::Status status = TimeCase(kernel);
    if (absl::IsResourceExhausted(status)) {
      std::printf("| %s | | | | | not run: %s | | |\n", kernel.name.c_str(), std::string(status.message()).c_str());
    } else if (!status.ok()) {
      std::printf("| %s | | | | | FAILED: %s | | |\n", kernel.name.c_str(), std::string(status.message()).c_str());
      ++num_failed_;
    }
    std::fflush(stdout);
  }

  absl::Status TimeCase(const KernelCase& kernel) {
    GpuInputs inputs(stream_);
    BenchDevice device = {.stream = stream_,
                          .dtype = kDType,
                          .num_multiprocessors = properties_.multiProcessorCount,
                          .eviction_bytes = options_.tiny ? 4096 : kCachesToEvict * properties_.l2CacheSize,
                          .max_sets = options_.tiny ? 2 : kMaxSets,
                          .inputs = inputs};
    absl::StatusOr<KernelRun> run = kernel.prepare(device);
    // Memory that ran out comes first: what followed from it is no news.
    if (!inputs.status().ok()) return inputs.status();
    if (!run.ok()) return run.status();
    TimedLaunches work = {.launch = run->launch, .num_sets = run->num_sets};
    const double streamed = run->streamed_bytes * static_cast<double>(run->num_sets);
    if (streamed > 0 && streamed < static_cast<double>(device.eviction_bytes)) {
      work.evict_bytes = static_cast<size_t>(device.eviction_bytes);
      work.evict = inputs.Bytes(work.evict_bytes);
      if (!inputs.status().ok()) return inputs.status();
    }
    absl::StatusOr<LaunchTime> time = TimeLaunches(work, options_.seconds_per_case, stream_);
    if (!time.ok()) return time.status();
    absl::Status status = CheckWrites(*run);
    if (!status.ok()) return status;
    PrintLine(kernel.name, *run, *time);
    if (kernel.expert_form) {
      const ExpertFormCase& form = *kernel.expert_form;
      auto& [streaming, tiled] = expert_forms_[{form.local_experts, form.rows}];
      (form.form == cuda::ExpertForm::kStreaming ? streaming : tiled) = time->seconds;
    }
    return absl::OkStatus();
  }

  // Once more through all sets, onto poisoned outputs.
  absl::Status CheckWrites(const KernelRun& run) const {
    absl::Status status = PoisonOutputs(run.outputs, stream_);
    for (int64_t set = 0; set < run.num_sets && status.ok(); ++set) status = run.launch(set);
    status.Update(cuda::ToStatus(cuda::TakeLaunchFailure(), "launch"));
    if (!status.ok()) return status;
    return CheckOutputs(run.outputs, stream_);
  }

  void PrintLine(const std::string& name, const KernelRun& run, const LaunchTime& time) const {
    std::printf("| %s | %.2f | %.1f%% | %.3g | %.3g |", name.c_str(), time.seconds * 1e6, time.relative_spread * 100,
                run.min_bytes * 1e-6, run.min_operations * 1e-9);
    if (!limits_) {
      std::printf(" | | |\n");
      return;
    }
    const double memory = run.min_bytes / limits_->copy_bytes_per_second;
    const double matrix = run.min_operations / limits_->matrix_flops_per_second;
    const double limit = std::max(memory, matrix);
    const char* bound = limit < kLatencySeconds ? "latency" : memory >= matrix ? "memory" : "matrix";
    std::printf(" %s | %.2f | %.0f%% |\n", bound, limit * 1e6, limit / time.seconds * 100);
  }

  // For the threshold in ChooseExpertForm: which form is the faster, and which is taken.
  void PrintExpertForms(const BenchModel& model) const {
    if (expert_forms_.empty()) return;
    std::printf(
        "\n| local experts | rows | pairs per expert | streaming us | tiled us | faster | ChooseExpertForm | |\n");
    std::printf("|--:|--:|--:|--:|--:|---|---|---|\n");
    const auto name = [](bool is_streaming) { return is_streaming ? "streaming" : "tiled"; };
    for (const auto& [sizes, seconds] : expert_forms_) {
      const auto [local, rows] = sizes;
      const auto [streaming, tiled] = seconds;
      if (streaming == 0 || tiled == 0) continue;  // one of them was filtered out or failed
      const bool chooses_streaming = cuda::ChooseExpertForm(rows, model.top_k, local) == cuda::ExpertForm::kStreaming;
      const double loss = (chooses_streaming ? streaming : tiled) / std::min(streaming, tiled) - 1;
      std::printf("| %lld | %lld | %.2f | %.1f | %.1f | %s | %s | ", static_cast<long long>(local),
                  static_cast<long long>(rows),
                  static_cast<double>(rows * model.top_k) / static_cast<double>(model.num_experts), streaming * 1e6,
                  tiled * 1e6, name(streaming < tiled), name(chooses_streaming));
      if (loss > 0) std::printf("loses %.1f%% ", loss * 100);
      std::printf("|\n");
    }
  }

  const Options options_;
  const cuda::Stream stream_;
  const cudaDeviceProp properties_;
  std::optional<GpuLimits> limits_;
  // By local experts and rows: seconds of the streaming form and of the tiled one.
  std::map<std::pair<int64_t, int64_t>, std::pair<double, double>> expert_forms_;
  int num_failed_ = 0;
};

int Main(const Options& options) {
  cudaStream_t stream = nullptr;
  cudaDeviceProp properties;
  absl::Status status = cuda::ToStatus(cudaSetDevice(options.device), "cudaSetDevice");
  status.Update(cuda::ToStatus(cudaGetDeviceProperties(&properties, options.device), "cudaGetDeviceProperties"));
  status.Update(cuda::ToStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"));
  if (!status.ok()) {
    std::fprintf(stderr, "gpu_kernel_bench: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  const bool is_good = Bench(options, stream, properties).Run();
  (void)cudaStreamDestroy(stream);
  return is_good ? 0 : 1;
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) try {
  switchyard::Options options;
  CLI::App app("Times every CUDA kernel at Mixtral-8x7B's sizes beside the limits of the card.");
  app.add_option("--filter", options.filter, "Run the cases whose name contains this");
  app.add_option("--seconds-per-case", options.seconds_per_case, "Of timed launches")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--device", options.device, "Index of the GPU")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_flag("--tiny", options.tiny, "Every case at small sizes, without limits: checks the bench itself");
  bool no_programmatic_launches = false;
  app.add_flag("--no-programmatic-launches", no_programmatic_launches,
               "No kernel starts before the one ahead of it has ended: a launch takes its start as well");
  CLI11_PARSE(app, argc, argv);
  switchyard::cuda::SetProgrammaticLaunches(!no_programmatic_launches);
  return switchyard::Main(options);
} catch (const std::exception& error) {
  std::fprintf(stderr, "gpu_kernel_bench: %s\n", error.what());
  return 1;
}
