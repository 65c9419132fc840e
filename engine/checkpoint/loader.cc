#include "engine/checkpoint/loader.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/block_reader.h"
#include "engine/checkpoint/load_blocks.h"
#include "engine/checkpoint/planned_weights.h"
#include "engine/checkpoint/quantized_fill.h"

namespace switchyard {
namespace {

using Files = std::span<const std::unique_ptr<RandomAccessFile>>;

// What the threads of one load share. Thread-safe.
class SharedLoad {
 public:
  SharedLoad(Files files, std::span<const LoadBlock> blocks, size_t num_threads, int64_t bytes_total,
             const LoadProgressCallback& progress)
      : files_(files),
        blocks_(blocks),
        num_threads_(num_threads),
        progress_(progress),
        done_{.bytes_total = bytes_total, .num_shards = static_cast<int64_t>(files.size())} {}

  // Loads blocks that nobody has taken yet until none are left or some thread has failed.
  void Run(BlockReader& reader) {
    while (!stopped_.load(std::memory_order_relaxed)) {
      const size_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= blocks_.size()) return;
      if (i + num_threads_ < blocks_.size()) Announce(blocks_[i + num_threads_]);
      Finish(reader.Load(blocks_[i]), blocks_[i].bytes_read(), blocks_[i].tensor().file);
    }
  }

  // Reports progress, or keeps the first error and stops all threads. Where the load has got to is the furthest file;
  // norms, which are few and come first from all files, count for the first.
  void Finish(absl::Status status, int64_t bytes, size_t file) {
    const std::lock_guard lock(mu_);
    if (!status.ok()) {
      if (status_.ok()) status_ = std::move(status);
      stopped_.store(true, std::memory_order_relaxed);
      return;
    }
    done_.bytes_read += bytes;
    if (const auto shard = static_cast<int64_t>(file); shard >= done_.shard) {
      done_.shard = shard;
      done_.shard_path = files_[file]->path();
    }
    if (progress_ && status_.ok()) progress_(done_);
  }

  absl::Status status() const {
    const std::lock_guard lock(mu_);
    return status_;
  }

 private:
  void Announce(const LoadBlock& ahead) const {
    if (ahead.tensor().is_dense()) {
      files_[ahead.tensor().file]->WillNeed(ahead.offset(), ahead.bytes_read());
      return;
    }
    for (const TensorPart& part : ahead.tensor().parts) files_[part.file]->WillNeed(part.begin, part.bytes);
  }

  const Files files_;
  const std::span<const LoadBlock> blocks_;
  const size_t num_threads_;
  const LoadProgressCallback& progress_;
  std::atomic<size_t> next_ = 0;
  std::atomic<bool> stopped_ = false;

  mutable std::mutex mu_;
  LoadProgress done_;    // guarded by mu_
  absl::Status status_;  // guarded by mu_; the first error
};

// Vectors are few and small, and the backend copies them on this thread only.
void LoadNorms(std::span<const PlannedVector> norms, Files files, Backend& backend, SharedLoad& load) {
  std::vector<float> values;
  for (const PlannedVector& norm : norms) {
    values.resize(static_cast<size_t>(norm.source->num_rows()));
    absl::Status status = ReadVector(files, *norm.source, values);
    if (status.ok()) {
      status = backend.CopyFromHost(ConstTensorView::Of(std::span<const float>(values)), norm.weight->view());
      if (!status.ok()) status = Annotate("values", *norm.source->tensor, status);
    }
    const bool failed = !status.ok();
    load.Finish(std::move(status), norm.source->bytes_read(), 0);
    if (failed) return;
  }
}

absl::StatusOr<std::vector<BlockReader>> CreateReaders(Files files, std::span<const LoadBlock> blocks,
                                                       size_t num_threads, QuantizedFill& fill, Backend& backend) {
  std::vector<BlockReader> readers;
  readers.reserve(num_threads);
  for (size_t i = 0; i < num_threads; ++i) {
    absl::StatusOr<BlockReader> reader = BlockReader::Create(files, blocks, fill, backend);
    if (!reader.ok()) {
      return absl::Status(reader.status().code(), absl::StrCat("staging memory of loading thread ", i + 1, " of ",
                                                               num_threads, ": ", reader.status().message()));
    }
    readers.push_back(*std::move(reader));
  }
  return readers;
}

}  // namespace

absl::Status ReadWeights(const LoadPlan& plan, Files files, Backend& backend, ModelWeights& weights,
                         const LoadOptions& options, const LoadProgressCallback& progress) {
  CHECK_GT(options.num_threads, 0);
  CHECK_GT(options.block_bytes, 0);
  const PlannedWeights planned = PairWithPlan(plan, weights);
  const LoadBlocks split = SplitIntoBlocks(planned.matrices, options.block_bytes);
  const std::span<const LoadBlock> blocks = split.blocks;
  QuantizedFill fill;
  const size_t num_threads = std::min(static_cast<size_t>(options.num_threads), blocks.size());
  absl::StatusOr<std::vector<BlockReader>> readers = CreateReaders(files, blocks, num_threads, fill, backend);
  if (!readers.ok()) return readers.status();

  SharedLoad load(files, blocks, num_threads, plan.bytes_read, progress);
  {
    std::vector<std::jthread> helpers;
    try {
      for (size_t i = 1; i < num_threads; ++i) {
        helpers.emplace_back([&load, &reader = (*readers)[i]] { load.Run(reader); });
      }
    } catch (const std::system_error& e) {
      load.Finish(absl::ResourceExhaustedError(absl::StrCat("cannot start loading thread ", helpers.size() + 2, " of ",
                                                            num_threads, ": ", e.what())),
                  0, 0);
    }
    LoadNorms(planned.norms, files, backend, load);
    load.Run(readers->front());
  }
  absl::Status status = load.status();
  return status.ok() ? backend.Synchronize() : status;
}

}  // namespace switchyard
