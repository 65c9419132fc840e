#include "engine/checkpoint/shard_tensors.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace switchyard {

absl::StatusOr<ShardTensors> ShardTensors::Make(std::span<const ShardHeader> shards) {
  ShardTensors all(shards);
  for (size_t file = 0; file < shards.size(); ++file) {
    for (const SafetensorsEntry& entry : shards[file].header.tensors) {
      const auto [other, is_new] = all.tensors_.emplace(entry.name, ShardTensor{.file = file, .entry = &entry});
      if (is_new) continue;
      return absl::InvalidArgumentError(absl::StrCat(shards[file].path, ": tensor ", QuoteName(entry.name),
                                                     " occurs in 2 files, also in ", shards[other->second.file].path,
                                                     "; it must be in 1"));
    }
  }
  return all;
}

const ShardTensor* ShardTensors::Find(absl::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void ShardTensors::Claim(absl::string_view name) { CHECK_EQ(tensors_.erase(name), size_t{1}); }

std::vector<absl::string_view> ShardTensors::Unclaimed() const {
  std::vector<absl::string_view> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

std::string ShardTensors::Where(const ShardTensor& tensor) const {
  return absl::StrCat(shards_[tensor.file].path, ": tensor ", QuoteName(tensor.entry->name));
}

absl::Status ShardTensors::Check(const ShardTensor& tensor, std::span<const int64_t> shape,
                                 absl::string_view because) const {
  const ShardHeader& shard = shards_[tensor.file];
  if (shard.unlisted.contains(tensor.entry->name)) {
    return absl::InvalidArgumentError(absl::StrCat(Where(tensor),
                                                   " is not named by the directory's index: ", shard.unlisted.size(),
                                                   " of the file's ", shard.header.tensors.size(), " tensors are not"));
  }
  if (!std::ranges::equal(tensor.entry->shape, shape)) {
    return absl::InvalidArgumentError(absl::StrCat(Where(tensor), " has shape ", ShapeText(tensor.entry->shape),
                                                   " but ", because, " implies ", ShapeText(shape)));
  }
  return absl::OkStatus();
}

}  // namespace switchyard
