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
#include "engine/checkpoint/quantization_config.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/model/decoder_spec.h"
#include "kernels/quantization/quantization.h"
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

// One of the tensors that a quantised weight consists of.
struct TensorPart {
  std::string suffix;  // "qweight", "absmax"; empty for the codes of bitsandbytes, which have the weight's own name
  size_t file = 0;
  std::string dtype;  // in safetensors' spelling
  std::vector<int64_t> shape;
  int64_t begin = 0;  // offset in the file
  int64_t bytes = 0;
};

// A weight that exists, with a shape as expected and in a form we compute with.
struct TensorLocation {
  std::string name;
  size_t file = 0;                 // index of its shard; of a quantised weight that of its first part
  DType dtype = DType::kBFloat16;  // of a quantised weight the type that it is dequantised to
  std::vector<int64_t> shape;      // [out, in], whatever the file's own order and packing
  int64_t begin = 0;               // offset in the file; dense only
  WeightStorage storage = WeightStorage::kDense;
  Quantization quantization = {};  // that ReadQuantizedTensor gives (quantized_sources.h), known before it is read
  int64_t file_group_size = 0;     // kGptq, kAwq: of the file; that of `quantization` divides it, or it is the row
  bool zeros_minus_one = false;    // kGptq: the file's packed zero points are 1 too small
  std::vector<TensorPart> parts;   // in the order of their files and offsets; empty where dense, and where imagined

  bool is_dense() const { return storage == WeightStorage::kDense; }
  int64_t rows() const { return shape[0]; }
  int64_t columns() const { return shape.size() > 1 ? shape[1] : 1; }
  int64_t row_bytes() const { return columns() * static_cast<int64_t>(SizeOf(dtype)); }  // dense only
  // In the files.
  int64_t bytes() const;
};

struct ShardHeader {
  std::string path;
  SafetensorsHeader header;
  std::set<std::string> unlisted;  // tensors of the file that the directory's index does not name
};

// Immutable once made.
class WeightMap {
 public:
  // Finds every weight that `spec` implies in exactly one shard, or, quantised, its parts in one or several. Which
  // weights are quantised the tensors decide; `quantization` says how, null: the checkpoint does not say.
  // INVALID_ARGUMENT names the file, the tensor and the two shapes, counts or files that disagree; tensors that no
  // weight needs end in `warnings`.
  static absl::StatusOr<WeightMap> Make(const DecoderSpec& spec, const WeightNaming& naming,
                                        const QuantizationConfig* quantization, std::span<const ShardHeader> shards,
                                        std::vector<std::string>& warnings);

  // Every weight that `spec` implies, in its weight_dtype and in no file (--load-format dummy); those that a checkpoint
  // with `quantization` quantises, if there is one, in its form. INVALID_ARGUMENT if they are absurdly many.
  static absl::StatusOr<WeightMap> Imagine(const DecoderSpec& spec, const WeightNaming& naming,
                                           const QuantizationConfig* quantization = nullptr);

  // The weight must be one of the model's; `layer` and `expert` are 0 where the role has none.
  const TensorLocation& Find(WeightRole role, int64_t layer = 0, int64_t expert = 0) const;

 private:
  std::map<std::tuple<WeightRole, int64_t, int64_t>, TensorLocation> locations_;
};

}  // namespace switchyard
