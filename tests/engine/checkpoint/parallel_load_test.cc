// One rank's load by several threads: the same weights, every byte once, and the first error ends it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/loader.h"
#include "tests/engine/checkpoint/checkpoint_files.h"
#include "tests/engine/checkpoint/fake_backend.h"
#include "tests/engine/checkpoint/loaded_weights.h"
#include "tests/engine/checkpoint/recording_file.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

// Cuts every matrix of the synthetic checkpoint, some into blocks of one row.
constexpr int64_t kSmallBlock = 200;

class ParallelLoadTest : public ::testing::Test {
 protected:
  void Write(const SyntheticCheckpointOptions& options) {
    const absl::Status written = WriteSyntheticCheckpoint(options, directory());
    ASSERT_TRUE(written.ok()) << written;
  }
  const std::string& directory() const { return directory_.path(); }
  std::unique_ptr<Checkpoint> Open(ReadRecord& record) const {
    auto checkpoint = OpenCheckpoint(directory(), record.Opener());
    CHECK(checkpoint.ok());
    record.Clear();
    return *std::move(checkpoint);
  }

  TemporaryDirectory directory_;
  FakeBackend backend_;
};

class AnyNumberOfThreads : public ParallelLoadTest, public ::testing::WithParamInterface<int> {};

TEST_P(AnyNumberOfThreads, FillsEveryRowOnceWithTheValuesOfTheFiles) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    SCOPED_TRACE(Name(dtype));
    Write({.dtype = dtype, .num_files = 3});
    const auto checkpoint = Checkpoint::Open(directory());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const DecoderSpec& spec = (*checkpoint)->spec();
    for (const WeightShard& shard : {WholeModel(spec), SecondHalf(spec)}) {
      auto weights = (*checkpoint)->Load(shard, backend_, {}, {.num_threads = GetParam(), .block_bytes = kSmallBlock});
      ASSERT_TRUE(weights.ok()) << weights.status();
      ExpectSameAsFiles(directory(), spec, shard, *weights);
    }
  }
}

TEST_P(AnyNumberOfThreads, WidensWhereTypesDiffer) {
  Write({.num_layers = 1});
  EditHeader(directory_.File("model.safetensors"), [](auto& header) {
    header["model.layers.0.self_attn.k_proj.weight"]["dtype"] = "F16";
    header["model.layers.0.block_sparse_moe.experts.1.w2.weight"]["dtype"] = "F16";
  });
  const auto checkpoint = Checkpoint::Open(directory());
  const WeightShard shard = SecondHalf((*checkpoint)->spec());
  auto weights = (*checkpoint)->Load(shard, backend_, {}, {.num_threads = GetParam(), .block_bytes = kSmallBlock});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_TRUE(weights->layers[0].qkv->spec().dtype == DType::kFloat32);
  ExpectSameAsFiles(directory(), (*checkpoint)->spec(), shard, *weights);
}

TEST_P(AnyNumberOfThreads, ReadsEveryByteOfItsTensorsExactlyOnce) {
  Write({.num_files = 3});
  ReadRecord record;
  const auto checkpoint = Open(record);
  const WeightShard shard = SecondHalf(checkpoint->spec());
  ASSERT_TRUE(checkpoint->Load(shard, backend_, {}, {.num_threads = GetParam(), .block_bytes = kSmallBlock}).ok());
  EXPECT_TRUE(record.IsWithoutOverlap());
  EXPECT_EQ(record.total(), checkpoint->BytesOf(shard));
}

TEST_P(AnyNumberOfThreads, ReportsProgressOneAtATimeAndNeverBackwards) {
  Write({});
  const auto checkpoint = Checkpoint::Open(directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const WeightShard shard = WholeModel((*checkpoint)->spec());
  std::atomic<int> inside = 0;
  int64_t last = 0;
  const auto progress = [&](const LoadProgress& load) {
    EXPECT_EQ(inside.fetch_add(1), 0);
    EXPECT_GT(load.bytes_read, last);
    EXPECT_EQ(load.bytes_total, (*checkpoint)->BytesOf(shard));
    last = load.bytes_read;
    inside.fetch_sub(1);
  };
  ASSERT_TRUE(
      (*checkpoint)->Load(shard, backend_, progress, {.num_threads = GetParam(), .block_bytes = kSmallBlock}).ok());
  EXPECT_EQ(last, (*checkpoint)->BytesOf(shard));
}

TEST_P(AnyNumberOfThreads, StopsAtTheFirstFailedReadAndNamesFileAndTensor) {
  Write({.num_files = 2});
  const std::string path = directory_.File("model-00002-of-00002.safetensors");
  std::atomic<bool> has_failed = false;
  std::atomic<int> later_reads = 0;
  ReadRecord record([&](const ByteRange& range) {
    if (has_failed) {
      // Time for the failure to become known; no more than a few reads may have begun by then.
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      ++later_reads;
    }
    // The first read of the second file that is not its header's.
    if (range.path != path || range.begin < 1000 || has_failed.exchange(true)) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(path, ": the disk is on fire"));
  });
  const auto checkpoint = Open(record);
  has_failed = false;
  later_reads = 0;
  record.Clear();
  const WeightShard shard = WholeModel(checkpoint->spec());
  const auto weights = checkpoint->Load(shard, backend_, {}, {.num_threads = GetParam(), .block_bytes = kSmallBlock});
  EXPECT_EQ(weights.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(weights.status().message()),
              AllOf(StartsWith(path + ": tensor 'model."), HasSubstr("': the disk is on fire")));
  EXPECT_LT(later_reads, 50);  // of several hundred that were left
}

TEST_P(AnyNumberOfThreads, FailureOfTheDeviceIsNamedWithItsTensor) {
  Write({});
  const auto checkpoint = Checkpoint::Open(directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  FakeBackend broken({.fills = 7});
  const auto weights = (*checkpoint)
                           ->Load(WholeModel((*checkpoint)->spec()), broken, {},
                                  {.num_threads = GetParam(), .block_bytes = kSmallBlock});
  EXPECT_EQ(weights.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(weights.status().message()),
              AllOf(StartsWith(directory_.File("model.safetensors") + ": tensor '"), HasSubstr("off the bus")));
}

INSTANTIATE_TEST_SUITE_P(Threads, AnyNumberOfThreads, ::testing::Values(1, 2, 5), ::testing::PrintToStringParamName());

TEST_F(ParallelLoadTest, OneThreadReadsFileByFileFrontToBack) {
  Write({.num_files = 3});
  ReadRecord record;
  const auto checkpoint = Open(record);
  ASSERT_TRUE(checkpoint->Load(WholeModel(checkpoint->spec()), backend_, {}, {.block_bytes = kSmallBlock}).ok());
  std::vector<ByteRange> matrices = record.reads();
  // The norms come first: 2 layers of 2, and the last.
  matrices.erase(matrices.begin(), matrices.begin() + 5);
  EXPECT_THAT(matrices, SizeIs(::testing::Gt(300)));
  EXPECT_TRUE(std::is_sorted(matrices.begin(), matrices.end()));
}

TEST_F(ParallelLoadTest, AsksForBlocksAheadOfTheThreads) {
  Write({.num_files = 3});
  ReadRecord record;
  const auto checkpoint = Open(record);
  const LoadOptions options{.num_threads = 3, .block_bytes = kSmallBlock};
  ASSERT_TRUE(checkpoint->Load(WholeModel(checkpoint->spec()), backend_, {}, options).ok());
  std::vector<ByteRange> hints = record.hints();
  std::vector<ByteRange> reads = record.reads();
  EXPECT_EQ(hints.size(), reads.size() - 5 - 3);  // all but norms, and the block that each thread begins with
  std::sort(hints.begin(), hints.end());
  std::sort(reads.begin(), reads.end());
  EXPECT_TRUE(std::includes(reads.begin(), reads.end(), hints.begin(), hints.end()));
}

TEST_F(ParallelLoadTest, ThreadsReadAtTheSameTime) {
  Write({});
  std::mutex mu;
  std::condition_variable arrived;
  std::set<std::thread::id> threads;
  std::atomic<bool> is_loading = false;
  ReadRecord record([&](const ByteRange&) {
    if (!is_loading) return absl::OkStatus();
    std::unique_lock lock(mu);
    threads.insert(std::this_thread::get_id());
    arrived.notify_all();
    // Each of the first reads ends only when three others have begun.
    const bool all = arrived.wait_for(lock, std::chrono::seconds(120), [&] { return threads.size() >= 4; });
    return all ? absl::OkStatus() : absl::DeadlineExceededError("a thread reads alone");
  });
  const auto checkpoint = Open(record);
  is_loading = true;
  const auto weights =
      checkpoint->Load(WholeModel(checkpoint->spec()), backend_, {}, {.num_threads = 4, .block_bytes = kSmallBlock});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(threads, SizeIs(4));
}

TEST_F(ParallelLoadTest, StagesOneBlockPerThread) {
  Write({.hidden_size = 64, .dtype = DType::kFloat32});
  const auto checkpoint = Checkpoint::Open(directory());
  const LoadOptions options{.num_threads = 3, .block_bytes = 1000};  // 3 rows of 64 floats
  ASSERT_TRUE((*checkpoint)->Load(WholeModel((*checkpoint)->spec()), backend_, {}, options).ok());
  // The down projections' rows are shorter: 5 of 48 floats.
  EXPECT_EQ(backend_.staging_bytes(), 3 * 5 * 48 * sizeof(float));
}

TEST_F(ParallelLoadTest, StartsNoMoreThreadsThanThereAreBlocks) {
  Write({});
  const auto checkpoint = Checkpoint::Open(directory());
  const WeightShard shard = WholeModel((*checkpoint)->spec());
  // Head, embedding, and of 2 layers q, k, v, o, router and 3 of each of 4 experts; the largest has 64 rows of 64
  // bytes, and none is cut.
  const size_t num_blocks = 2 + 2 * (5 + 3 * 4);
  auto weights = (*checkpoint)->Load(shard, backend_, {}, {.num_threads = 1000});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(backend_.staging_bytes(), num_blocks * 64 * 64);
  ExpectSameAsFiles(directory(), (*checkpoint)->spec(), shard, *weights);
}

TEST_F(ParallelLoadTest, StagingThatDoesNotFitIsRefusedBeforeAnyByteIsRead) {
  Write({});
  ReadRecord record;
  const auto checkpoint = Open(record);
  FakeBackend small({.staging_buffers = 1});
  const auto weights = checkpoint->Load(WholeModel(checkpoint->spec()), small, {}, {.num_threads = 3});
  EXPECT_EQ(weights.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(weights.status().message()),
              AllOf(HasSubstr("staging memory of loading thread 2 of 3"), HasSubstr("no room for ")));
  EXPECT_EQ(record.total(), 0);
}

TEST_F(ParallelLoadTest, FailedCopyOfANormStopsTheThreads) {
  Write({});
  const auto checkpoint = Checkpoint::Open(directory());
  FakeBackend broken({.copies = 2});
  const auto weights =
      (*checkpoint)
          ->Load(WholeModel((*checkpoint)->spec()), broken, {}, {.num_threads = 3, .block_bytes = kSmallBlock});
  EXPECT_THAT(std::string(weights.status().message()), HasSubstr("values for 'model.layers.1.input_layernorm.weight'"));
}

// Neither a matrix nor a norm is touched before FillWeights: memory may be only counted until then.
TEST_F(ParallelLoadTest, CreatesWithoutReadingOrWriting) {
  class Counting : public FakeBackend {
   public:
    absl::StatusOr<Buffer> Allocate(size_t bytes) override {
      bytes_ += bytes;
      return Buffer(nullptr, bytes, nullptr);
    }
    size_t bytes_ = 0;
  } counting;
  Write({});
  ReadRecord record;
  const auto checkpoint = Open(record);
  auto weights = checkpoint->CreateWeights(WholeModel(checkpoint->spec()), counting);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(counting.bytes_, 5 * 32 * sizeof(float));
  for (const Matrix* matrix : MatricesOf(*weights)) EXPECT_THAT(ValuesOf(*matrix), Each(::testing::IsNan()));
  EXPECT_EQ(record.total(), 0);
}

}  // namespace
}  // namespace switchyard
