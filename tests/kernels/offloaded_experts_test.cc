#include "kernels/cpu/offloaded_experts.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/cpu/mapped_file.h"
#include "kernels/cpu/packed_weights.h"
#include "kernels/cpu_planning_backend.h"
#include "tests/kernels/offload_steps.h"
#include "tests/kernels/quantized_weights.h"

namespace switchyard {
namespace {

CpuBackendOptions Options(bool reference, int num_threads, int64_t num_places) {
  return {.num_threads = num_threads,
          .reference = reference,
          .offload = {.num_places = num_places, .directory = testing::TempDir()}};
}

TEST(OffloadedExperts, ComputeWhatResidentOnesDoWhateverTheFormat) {
  std::vector<Quantization> formats = {{}};
  for (const QuantizedCase& c : AllQuantizedCases()) formats.push_back(c.quantization);
  for (const Quantization& format : formats) {
    SCOPED_TRACE(Describe(format));
    const auto resident = CreateCpuBackend(Options(false, 2, 0));
    const auto offloaded = CreateCpuBackend(Options(false, 2, 3));
    ExpectTheSameWithOffload(
        *resident, *offloaded,
        {.spec = {.num_experts = 7, .hidden_size = 128, .intermediate_size = 256, .gate_up = format, .down = format},
         .num_places = 3});
  }
}

TEST(OffloadedExperts, ComputeWhatResidentOnesDoWithAnyNumberOfPlaces) {
  for (const bool reference : {false, true}) {
    for (int64_t num_places = 1; num_places <= 6; ++num_places) {
      SCOPED_TRACE(testing::Message() << num_places << " places, reference " << reference);
      const auto resident = CreateCpuBackend(Options(reference, 1, 0));
      const auto offloaded = CreateCpuBackend(Options(reference, 1, num_places));
      ExpectTheSameWithOffload(*resident, *offloaded,
                               {.spec = {.num_experts = 6, .hidden_size = 40, .intermediate_size = 24},
                                .num_places = num_places,
                                .num_steps = 40,
                                .seed = static_cast<uint32_t>(num_places)});
    }
  }
}

TEST(OffloadedExperts, ComputeWhatResidentOnesDoWithRoundedActivations) {
  const Quantization int4 = {.format = WeightFormat::kInt4, .group_size = 64};
  for (const bool is_quantized : {false, true}) {
    const auto create = [&](int64_t num_places) {
      CpuBackendOptions options = Options(false, 2, num_places);
      (is_quantized ? options.int8_activations : options.bf16_activations) = true;
      return CreateCpuBackend(options);
    };
    const Quantization format = is_quantized ? int4 : Quantization{};
    // So many rows that some experts' products are large.
    ExpectTheSameWithOffload(
        *create(0), *create(2),
        {.spec = {.num_experts = 5, .hidden_size = 256, .intermediate_size = 256, .gate_up = format, .down = format},
         .num_places = 2,
         .max_rows = 120});
  }
}

TEST(OffloadedExperts, TakeThePlacesThatThePlanCounts) {
  const ExpertWeightsSpec spec = {.num_experts = 5, .hidden_size = 72, .intermediate_size = 200};
  for (const bool reference : {false, true}) {
    const CpuBackendOptions options = Options(reference, 1, 2);
    CpuPlanningBackend planning(options);
    const auto planned = planning.CreateExperts(spec);
    ASSERT_TRUE(planned.ok()) << planned.status();
    EXPECT_TRUE((*planned)->is_offloaded());
    const auto backend = CreateCpuBackend(options);
    const auto experts = *backend->CreateExperts(spec);
    // One expert is moved at a time.
    experts->Prefetch(std::vector{4});
    const uint64_t block = experts->offload_stats().bytes_copied;
    EXPECT_EQ(planning.expert_bytes(), 2 * block);
    EXPECT_EQ(planning.bytes_allocated(), 2 * block);
    EXPECT_EQ(planning.offloaded_bytes(), 5 * block);
    EXPECT_GE(block, experts->gate_up(0).bytes() + experts->down(0).bytes());
  }
}

TEST(OffloadedExperts, CountHitsMissesAndGuesses) {
  const ExpertWeightsSpec spec = {.num_experts = 4, .hidden_size = 32, .intermediate_size = 32};
  const auto copier = ExpertCopier::Create();
  ASSERT_TRUE(copier.ok());
  const auto experts =
      OffloadedExperts::Create(spec, {.num_places = 2, .directory = testing::TempDir()}, CreatePackedMatrix, **copier);
  ASSERT_TRUE(experts.ok()) << experts.status();
  const uint64_t block = *OffloadedExpertBytes(spec, CreatePackedMatrix);
  const auto need = [&](const std::vector<int>& needed) {
    std::vector<int> computed;
    (*experts)->ForEachPart(
        needed, {}, [&](std::span<const int> part) { computed.insert(computed.end(), part.begin(), part.end()); });
    EXPECT_EQ(computed.size(), needed.size());
  };
  need({0, 1});
  (*experts)->Prefetch(std::vector{3});  // instead of 0
  need({3, 1});
  need({0});
  const ExpertCacheStats stats = (*experts)->offload_stats();
  EXPECT_EQ(stats.num_needed, 5u);
  EXPECT_EQ(stats.num_hits, 2u);
  EXPECT_EQ(stats.num_prefetched, 1u);
  EXPECT_EQ(stats.num_prefetch_hits, 1u);
  EXPECT_EQ(stats.bytes_copied, 4 * block);
  EXPECT_GT(stats.stall_seconds, 0.0);
}

TEST(OffloadedExperts, AreFilledOnceAndNeverWrittenAgain) {
  const ExpertWeightsSpec spec = {.num_experts = 3, .hidden_size = 64, .intermediate_size = 64};
  const auto backend = CreateCpuBackend(Options(false, 1, 1));
  const auto experts = *backend->CreateExperts(spec);
  EXPECT_TRUE(experts->gate_up(2).FillRandom(1, 0.1f).ok());
  // Filling by rows, as a loader does, from one expert to the other.
  const std::vector<uint16_t> rows(64 * 64, 0x3F80);
  const ConstTensorView view(rows.data(), DType::kBFloat16, Shape{64, 64});
  EXPECT_TRUE(experts->down(0).Fill(0, view).ok());
  EXPECT_TRUE(experts->gate_up(1).Fill(64, view).ok());
  EXPECT_FALSE(experts->down(1).Fill(1, view).ok());
}

TEST(CreateMappedFile, IsZeroedMemoryThatKeepsWhatIsWritten) {
  const auto file = CreateMappedFile(testing::TempDir(), 10000);
  ASSERT_TRUE(file.ok()) << file.status();
  auto* bytes = static_cast<unsigned char*>(file->data());
  EXPECT_EQ(bytes[9999], 0);
  std::memset(bytes, 7, 10000);
  EXPECT_EQ(bytes[5000], 7);
  EXPECT_TRUE(CreateMappedFile(testing::TempDir(), 0).ok());
}

TEST(CreateMappedFile, NamesTheDirectoryThatIsNotThere) {
  const absl::Status status = CreateMappedFile("/no/such/place", 4096).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  for (const char* part : {"--offload-dir /no/such/place", "4096 bytes", "exists and can be written"}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << status;
  }
}

TEST(CreateMappedFile, NamesTheDirectoryThatCannotBeWritten) {
  const absl::Status status = CreateMappedFile("/proc", 4096).status();  // by nobody, not even root
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("--offload-dir /proc"), std::string::npos) << status;
}

TEST(CreateMappedFile, SaysHowMuchRoomAFullDiskHas) {
  const absl::Status status = CreateMappedFile(testing::TempDir(), size_t{1} << 50).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  for (const char* part : {"--offload-dir", "1125899906842624 bytes", "bytes free"}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << status;
  }
}

TEST(OffloadedExperts, AreRefusedWithTheReasonWhereTheirFileCannotBe) {
  CpuBackendOptions options = Options(false, 1, 1);
  options.offload.directory = "/no/such/place";
  const auto experts =
      CreateCpuBackend(options)->CreateExperts({.num_experts = 2, .hidden_size = 32, .intermediate_size = 32});
  EXPECT_TRUE(absl::IsNotFound(experts.status())) << experts.status();
}

}  // namespace
}  // namespace switchyard
