// Every tensor of every shard by its name, until a weight claims it.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/weight_map.h"

namespace switchyard {

struct ShardTensor {
  size_t file = 0;  // index of its shard
  const SafetensorsEntry* entry = nullptr;
};

// Borrows the headers.
class ShardTensors {
 public:
  // INVALID_ARGUMENT names a tensor that occurs in two shards.
  static absl::StatusOr<ShardTensors> Make(std::span<const ShardHeader> shards);

  // Null if no shard has it, or it was claimed. Valid until it is.
  const ShardTensor* Find(absl::string_view name) const;
  // The tensor, which must be there, leaves.
  void Claim(absl::string_view name);
  // In alphabetical order.
  std::vector<absl::string_view> Unclaimed() const;

  // "dir/model.safetensors: tensor 'x'", which opens every message.
  std::string Where(const ShardTensor& tensor) const;
  // INVALID_ARGUMENT if the directory's index does not name the tensor, or its shape is not `shape`, which `because`
  // implies.
  absl::Status Check(const ShardTensor& tensor, std::span<const int64_t> shape, absl::string_view because) const;

 private:
  explicit ShardTensors(std::span<const ShardHeader> shards) : shards_(shards) {}

  std::span<const ShardHeader> shards_;
  std::map<absl::string_view, ShardTensor> tensors_;
};

}  // namespace switchyard
