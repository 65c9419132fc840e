#include "engine/checkpoint/shard_files.h"

#include <exception>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/checkpoint/json_document.h"
#include "engine/checkpoint/json_fields.h"

namespace switchyard {
namespace {

constexpr char kSingleName[] = "model.safetensors";
constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr int64_t kMaxIndexBytes = kMaxSafetensorsHeaderBytes;
// Every shard stays open while the model is loaded.
constexpr size_t kMaxShards = 512;

absl::StatusOr<ShardHeader> ReadHeader(const RandomAccessFile& file) {
  std::string prefix(static_cast<size_t>(std::min(file.size(), kSafetensorsPrefixBytes)), '\0');
  absl::Status read = file.ReadAt(0, std::as_writable_bytes(std::span(prefix)));
  if (!read.ok()) return read;
  const absl::StatusOr<int64_t> bytes =
      SafetensorsHeaderBytes(file.path(), std::as_bytes(std::span(prefix)), file.size());
  if (!bytes.ok()) return bytes.status();
  std::string json(static_cast<size_t>(*bytes), '\0');
  read = file.ReadAt(kSafetensorsPrefixBytes, std::as_writable_bytes(std::span(json)));
  if (!read.ok()) return read;
  absl::StatusOr<SafetensorsHeader> header = ParseSafetensorsHeader(file.path(), json, file.size());
  if (!header.ok()) return header.status();
  return ShardHeader{.path = file.path(), .header = *std::move(header)};
}

absl::Status AddShard(const FileOpener& open, const std::string& path, ShardFiles& shards) {
  absl::StatusOr<std::unique_ptr<RandomAccessFile>> file = open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<ShardHeader> header = ReadHeader(**file);
  if (!header.ok()) return header.status();
  shards.files.push_back(*std::move(file));
  shards.headers.push_back(*std::move(header));
  return absl::OkStatus();
}

// A shard lies beside its index: any other path could make a download read files that are not its own.
bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
}

using WeightFiles = std::map<std::string, std::string>;  // tensor -> shard

absl::StatusOr<WeightFiles> ReadWeightFiles(const std::string& path, const nlohmann::json& index) {
  const auto found = index.find("weight_map");
  if (found == index.end() || !found->is_object() || found->empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": weight_map is ", found == index.end() ? "missing" : JsonText(*found), "; it must name tensors"));
  }
  WeightFiles files;
  for (const auto& [tensor, file] : found->items()) {
    if (!file.is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", QuoteName(tensor), ": file is ", JsonText(file), "; it must be a string"));
    }
    const auto& name = file.get_ref<const std::string&>();
    if (!IsPlainFileName(name)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", QuoteName(tensor), ": file ", QuoteName(name),
                                                     " must be a file name in the same directory, without a path"));
    }
    files.emplace(tensor, name);
  }
  return files;
}

// Every tensor of the index must be where it says; whether those that it does not name matter, the weight map knows.
absl::Status CheckIndexed(const std::string& index_path, const WeightFiles& weight_files,
                          const std::map<std::string, size_t>& shard_of, ShardFiles& shards) {
  std::vector<std::set<absl::string_view>> names(shards.headers.size());
  for (size_t i = 0; i < shards.headers.size(); ++i) {
    for (const SafetensorsEntry& entry : shards.headers[i].header.tensors) {
      names[i].insert(entry.name);
      if (!weight_files.contains(entry.name)) shards.headers[i].unlisted.insert(entry.name);
    }
  }
  for (const auto& [tensor, file] : weight_files) {
    const size_t shard = shard_of.at(file);
    if (names[shard].contains(tensor)) continue;
    return absl::InvalidArgumentError(absl::StrCat(index_path, ": tensor ", QuoteName(tensor), " is not among the ",
                                                   names[shard].size(), " tensors of ", shards.headers[shard].path,
                                                   ", where the index says it is"));
  }
  return absl::OkStatus();
}

void WarnOfTotalSize(const std::string& index_path, const nlohmann::json& index, const ShardFiles& shards,
                     std::vector<std::string>& warnings) {
  const auto metadata = index.find("metadata");
  if (metadata == index.end() || !metadata->is_object() || !metadata->contains("total_size")) return;
  int64_t bytes = 0;
  for (const ShardHeader& shard : shards.headers) {
    for (const SafetensorsEntry& entry : shard.header.tensors) bytes += entry.end - entry.begin;
  }
  const nlohmann::json& total = metadata->at("total_size");
  if (total == bytes) return;
  warnings.push_back(absl::StrCat(index_path, ": metadata.total_size is ", JsonText(total), " but the tensors have ",
                                  bytes, " bytes"));
}

absl::StatusOr<ShardFiles> OpenIndexed(const FileOpener& open, const std::string& directory,
                                       const std::string& index_path, const nlohmann::json& index,
                                       std::vector<std::string>& warnings) {
  const absl::StatusOr<WeightFiles> weight_files = ReadWeightFiles(index_path, index);
  if (!weight_files.ok()) return weight_files.status();
  std::map<std::string, size_t> shard_of;
  for (const auto& [tensor, file] : *weight_files) shard_of.emplace(file, 0);
  if (shard_of.size() > kMaxShards) {
    return absl::InvalidArgumentError(absl::StrCat(index_path, ": weight_map names ", shard_of.size(),
                                                   " files; at most ", kMaxShards, " are allowed"));
  }
  ShardFiles shards;
  for (auto& [file, shard] : shard_of) {
    shard = shards.files.size();
    const absl::Status added = AddShard(open, absl::StrCat(directory, "/", file), shards);
    if (absl::IsNotFound(added)) {
      return absl::NotFoundError(absl::StrCat(added.message(), "; ", index_path, " names it among ", shard_of.size(),
                                              " files: is the download complete?"));
    }
    if (!added.ok()) return added;
  }
  const absl::Status checked = CheckIndexed(index_path, *weight_files, shard_of, shards);
  if (!checked.ok()) return checked;
  WarnOfTotalSize(index_path, index, shards, warnings);
  return shards;
}

}  // namespace

absl::StatusOr<ShardFiles> OpenShardFiles(const FileOpener& open, const std::string& directory,
                                          std::vector<std::string>& warnings) {
  const std::string single_path = absl::StrCat(directory, "/", kSingleName);
  const std::string index_path = absl::StrCat(directory, "/", kIndexName);
  ShardFiles single;
  const absl::Status opened = AddShard(open, single_path, single);
  if (opened.ok()) return single;
  if (!absl::IsNotFound(opened)) return opened;
  const absl::StatusOr<nlohmann::json> index = ReadJsonFile(open, index_path, kMaxIndexBytes);
  if (absl::IsNotFound(index.status())) {
    return absl::NotFoundError(absl::StrCat(directory, ": has neither ", kSingleName, " nor ", kIndexName,
                                            "; other formats (.bin, .pt, .gguf) must be converted to safetensors"));
  }
  if (!index.ok()) return index.status();
  try {
    return OpenIndexed(open, directory, index_path, *index, warnings);
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(index_path, ": ", e.what()));
  }
}

}  // namespace switchyard
