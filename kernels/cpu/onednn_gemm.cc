#include "kernels/cpu/onednn_gemm.h"

#include <array>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "dnnl.hpp"
#include "kernels/check.h"

// OpenMP 5.0, section 3.2.1; sets what the calling thread alone uses. Declared here because clang comes without omp.h.
extern "C" void omp_set_num_threads(int num_threads);

namespace switchyard {
namespace {

// Distinct depths of a model are few; a bound keeps a process that loads many models from growing.
constexpr size_t kMaxDepths = 32;

using Arguments = std::unordered_map<int, dnnl::memory>;

// One product shape: the kernel, and per worker the arguments whose pointers change from call to call.
struct Kernel {
  dnnl::matmul primitive;
  std::vector<Arguments> arguments;
};

absl::Status StatusOf(const dnnl::error& error) {
  return absl::InternalError(absl::StrCat("oneDNN: ", error.what(), " (status ", static_cast<int>(error.status), ")"));
}

}  // namespace

struct OneDnnGemm::Kernels {
  const int num_workers;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::vector<dnnl::stream> streams;
  std::map<int64_t, std::array<Kernel, 2>> by_depth;  // small and large block

  explicit Kernels(int workers) : num_workers(workers) {
    for (int i = 0; i < workers; ++i) streams.emplace_back(engine);
  }

  absl::StatusOr<Kernel> Make(int64_t depth, int64_t rows) const {
    using Memory = dnnl::memory;
    const Memory::desc x({rows, depth}, Memory::data_type::bf16, Memory::format_tag::ab);
    const Memory::desc panel({depth, kPanelColumns}, Memory::data_type::bf16, Memory::format_tag::BA16a64b2a);
    const Memory::desc y({rows, kPanelColumns}, Memory::data_type::f32, Memory::format_tag::ab);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(x, panel, y), attributes, engine);
    // Every other implementation of oneDNN's for these layouts is a plain loop.
    const std::string name = description.impl_info_str();
    if (name.substr(0, 3) != "brg") {
      return absl::UnimplementedError(absl::StrCat("oneDNN has no fast bfloat16 product here, only ", name));
    }
    Kernel kernel{dnnl::matmul(description), {}};
    for (int i = 0; i < num_workers; ++i) {
      kernel.arguments.push_back({{DNNL_ARG_SRC, Memory(x, engine, DNNL_MEMORY_NONE)},
                                  {DNNL_ARG_WEIGHTS, Memory(panel, engine, DNNL_MEMORY_NONE)},
                                  {DNNL_ARG_DST, Memory(y, engine, DNNL_MEMORY_NONE)},
                                  {DNNL_ARG_SCRATCHPAD, Memory(description.scratchpad_desc(), engine)}});
    }
    return kernel;
  }
};

OneDnnGemm::OneDnnGemm(int num_workers) : kernels_(std::make_unique<Kernels>(num_workers)) {}
OneDnnGemm::~OneDnnGemm() = default;

absl::StatusOr<std::unique_ptr<OneDnnGemm>> OneDnnGemm::Create(int num_workers) {
  CHECK_GE(num_workers, 1);
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  constexpr auto kBf16 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);  // a set of bits, as all of them
  if ((isa & kBf16) != kBf16) return absl::UnimplementedError("the CPU has neither AVX512_BF16 nor AMX");
  try {
    std::unique_ptr<OneDnnGemm> gemm(new OneDnnGemm(num_workers));
    if (absl::Status made = gemm->Prepare(kDepthMultiple); !made.ok()) return made;
    return gemm;
  } catch (const dnnl::error& error) {
    return StatusOf(error);
  }
}

absl::Status OneDnnGemm::Prepare(int64_t depth) {
  CHECK(depth > 0 && depth % kDepthMultiple == 0);
  if (kernels_->by_depth.contains(depth)) return absl::OkStatus();
  omp_set_num_threads(1);  // a kernel divides its work among the threads allowed when it is made
  try {
    absl::StatusOr<Kernel> small = kernels_->Make(depth, kSmallBlock);
    if (!small.ok()) return small.status();
    absl::StatusOr<Kernel> large = kernels_->Make(depth, kLargeBlock);
    if (!large.ok()) return large.status();
    if (kernels_->by_depth.size() >= kMaxDepths) kernels_->by_depth.clear();
    kernels_->by_depth.emplace(depth, std::array<Kernel, 2>{*std::move(small), *std::move(large)});
    return absl::OkStatus();
  } catch (const dnnl::error& error) {
    return StatusOf(error);
  }
}

absl::Status OneDnnGemm::Multiply(int worker, int64_t depth, int64_t rows, const uint16_t* x, const uint16_t* panel,
                                  float* y) {
  CHECK(worker >= 0 && worker < kernels_->num_workers && (rows == kSmallBlock || rows == kLargeBlock));
  const auto found = kernels_->by_depth.find(depth);
  CHECK(found != kernels_->by_depth.end());
  Kernel& kernel = found->second[rows == kLargeBlock];
  Arguments& arguments = kernel.arguments[worker];
  omp_set_num_threads(1);
  try {
    // oneDNN's handles are not const, but a product only reads these two.
    arguments.at(DNNL_ARG_SRC).set_data_handle(const_cast<uint16_t*>(x));
    arguments.at(DNNL_ARG_WEIGHTS).set_data_handle(const_cast<uint16_t*>(panel));
    arguments.at(DNNL_ARG_DST).set_data_handle(y);
    kernel.primitive.execute(kernels_->streams[worker], arguments);
    kernels_->streams[worker].wait();
    return absl::OkStatus();
  } catch (const dnnl::error& error) {
    return StatusOf(error);
  }
}

}  // namespace switchyard
