// One thread's share of a load: reads into its own staging memory, from there converts into the weights.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/load_blocks.h"
#include "engine/checkpoint/quantized_fill.h"
#include "engine/checkpoint/random_access_file.h"
#include "kernels/backend.h"

namespace switchyard {

// Used from one thread at a time. Borrows `files` and `fill`, which must outlive it.
class BlockReader {
 public:
  // Room for any of `blocks`, allocated by the backend, hence on its thread. All readers of a load share `fill`.
  static absl::StatusOr<BlockReader> Create(std::span<const std::unique_ptr<RandomAccessFile>> files,
                                            std::span<const LoadBlock> blocks, QuantizedFill& fill, Backend& backend);

  // Reads the block and fills its rows. Errors name the file and the tensor.
  absl::Status Load(const LoadBlock& block);

 private:
  BlockReader(std::span<const std::unique_ptr<RandomAccessFile>> files, QuantizedFill& fill, Buffer staging,
              Buffer converted)
      : files_(files), fill_(&fill), staging_(std::move(staging)), converted_(std::move(converted)) {}

  absl::Status LoadDense(const LoadBlock& block);
  absl::Status LoadQuantized(const TensorLoad& load);
  // The staged rows as the block's matrix takes them; the staging memory itself where they are that already.
  ConstTensorView Convert(const LoadBlock& block);

  std::span<const std::unique_ptr<RandomAccessFile>> files_;
  QuantizedFill* fill_;
  Buffer staging_;    // rows as they lie in the file; empty where no block is dense
  Buffer converted_;  // rows as a dense weight takes them; empty where no block is converted
};

// Reads a vector as float32; `out` has as many elements. Errors as above.
absl::Status ReadVector(std::span<const std::unique_ptr<RandomAccessFile>> files, const TensorSlice& slice,
                        std::span<float> out);

}  // namespace switchyard
