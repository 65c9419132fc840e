// Which tensor of which file is which weight: a table of names per model family, matched against the headers.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/model/decoder_spec.h"
#include "kernels/tensor.h"

namespace switchyard {

enum class WeightRole {
  kEmbedding,
  kFinalNorm,
  kLmHead,
  kInputNorm,
  kPostAttentionNorm,
  kQuery,
  kKey,
  kValue,
  kAttentionOutput,
  kRouter,
  kExpertGate,
  kExpertUp,
  kExpertDown,
};

// One line of a family's table; "{layer}" and "{expert}" stand for their numbers.
struct WeightName {
  WeightRole role;
  absl::string_view pattern;
};

struct WeightNaming {
  std::span<const WeightName> names;
  std::span<const absl::string_view> ignorable_suffixes;  // tensors that old exports carry and nobody reads
};

// The table of `model_type`, which must be one that ParseModelConfig accepts.
const WeightNaming& NamingOf(absl::string_view model_type);
// [out, in], or [hidden] for a norm.
std::vector<int64_t> ExpectedShape(WeightRole role, const DecoderSpec& spec);

// A tensor that exists, with a shape as expected and an element type we compute with.
struct TensorLocation {
  std::string name;
  size_t file = 0;  // index of its shard
  DType dtype = DType::kBFloat16;
  std::vector<int64_t> shape;
  int64_t begin = 0;  // offset in the file

  int64_t rows() const { return shape[0]; }
  int64_t columns() const { return shape.size() > 1 ? shape[1] : 1; }
  int64_t row_bytes() const { return columns() * static_cast<int64_t>(SizeOf(dtype)); }
};

struct ShardHeader {
  std::string path;
  SafetensorsHeader header;
  std::set<std::string> unlisted;  // tensors of the file that the directory's index does not name
};

// Immutable once made.
class WeightMap {
 public:
  // Finds every weight that `spec` implies in exactly one shard. INVALID_ARGUMENT names the file, the tensor and the
  // two shapes, counts or files that disagree; tensors that no weight needs end in `warnings`.
  static absl::StatusOr<WeightMap> Make(const DecoderSpec& spec, const WeightNaming& naming,
                                        std::span<const ShardHeader> shards, std::vector<std::string>& warnings);

  // Every weight that `spec` implies, in its weight_dtype and in no file (--load-format dummy). INVALID_ARGUMENT if
  // they are absurdly many.
  static absl::StatusOr<WeightMap> Imagine(const DecoderSpec& spec, const WeightNaming& naming);

  // The weight must be one of the model's; `layer` and `expert` are 0 where the role has none.
  const TensorLocation& Find(WeightRole role, int64_t layer = 0, int64_t expert = 0) const;

 private:
  std::map<std::tuple<WeightRole, int64_t, int64_t>, TensorLocation> locations_;
};

}  // namespace switchyard
