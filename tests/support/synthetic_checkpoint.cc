#include "tests/support/synthetic_checkpoint.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

struct TensorPlan {
  std::string name;
  std::vector<int64_t> shape;

  int64_t num_elements() const { return shape[0] * (shape.size() > 1 ? shape[1] : 1); }
  // Of the first row; a norm is one row.
  int64_t row_elements() const { return shape.back(); }
};

std::vector<TensorPlan> PlanTensors(const SyntheticCheckpointOptions& o) {
  const int64_t head_dim = o.head_dim.value_or(o.hidden_size / o.num_heads);
  std::vector<TensorPlan> plan = {{"model.embed_tokens.weight", {o.vocab_size, o.hidden_size}}};
  for (int64_t layer = 0; layer < o.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
      plan.push_back({.name = absl::StrCat(prefix, name, ".weight"), .shape = std::move(shape)});
    };
    add("self_attn.q_proj", {o.num_heads * head_dim, o.hidden_size});
    add("self_attn.k_proj", {o.num_kv_heads * head_dim, o.hidden_size});
    add("self_attn.v_proj", {o.num_kv_heads * head_dim, o.hidden_size});
    add("self_attn.o_proj", {o.hidden_size, o.num_heads * head_dim});
    add("block_sparse_moe.gate", {o.num_experts, o.hidden_size});
    for (int64_t expert = 0; expert < o.num_experts; ++expert) {
      const std::string expert_name = absl::StrCat("block_sparse_moe.experts.", expert, ".");
      add(expert_name + "w1", {o.intermediate_size, o.hidden_size});
      add(expert_name + "w2", {o.hidden_size, o.intermediate_size});
      add(expert_name + "w3", {o.intermediate_size, o.hidden_size});
    }
    add("input_layernorm", {o.hidden_size});
    add("post_attention_layernorm", {o.hidden_size});
  }
  plan.push_back({.name = "model.norm.weight", .shape = {o.hidden_size}});
  if (!o.tie_word_embeddings) plan.push_back({.name = "lm_head.weight", .shape = {o.vocab_size, o.hidden_size}});
  return plan;
}

// splitmix64 (Steele, Lea and Flood 2014): one multiplication chain per value, good enough for weights.
class Random {
 public:
  Random(uint64_t seed, const std::string& name) : state_(seed) {
    // FNV-1a over the name, so that a tensor's values do not depend on its neighbours.
    for (const char c : name) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  }
  uint64_t Next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

uint16_t HalfBits(DType dtype, float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (dtype == DType::kBFloat16) return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
  // binary16 without rounding up; weights are far from its largest value, and the smallest become zero.
  const uint32_t exponent = (bits >> 23) & 0xFFu;
  if (exponent < 127 - 14) return static_cast<uint16_t>(bits >> 16 & 0x8000u);
  return static_cast<uint16_t>((bits >> 16 & 0x8000u) | (exponent - 127 + 15) << 10 | (bits >> 13 & 0x3FFu));
}

void WriteTensor(const TensorPlan& tensor, const SyntheticCheckpointOptions& options, std::ostream& out) {
  const bool is_norm = tensor.shape.size() == 1;
  const float centre = is_norm ? 1.0f : 0.0f;
  // A uniform variable on [-a, a] has variance a^2 / 3.
  const float amplitude = is_norm ? 0.25f : std::sqrt(3.0f / static_cast<float>(tensor.shape[1]));
  // Four 16-bit draws per random word. The table costs less than a conversion per element.
  std::vector<float> values(1 << 16);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = centre + amplitude * (static_cast<float>(i) - 32767.5f) / 32768.0f;
  }
  std::vector<uint16_t> halves(values.size());
  for (size_t i = 0; i < values.size(); ++i) halves[i] = HalfBits(options.dtype, values[i]);

  Random random(options.seed, tensor.name);
  constexpr int64_t kBlock = int64_t{1} << 20;
  std::vector<char> block;
  const int64_t written = options.first_rows_only ? tensor.row_elements() : tensor.num_elements();
  for (int64_t begin = 0; begin < written; begin += kBlock) {
    const int64_t count = std::min(kBlock, written - begin);
    const size_t size = SizeOf(options.dtype);
    block.resize(static_cast<size_t>(count) * size);
    uint64_t word = 0;
    for (int64_t i = 0; i < count; ++i) {
      word = i % 4 == 0 ? random.Next() : word >> 16;
      const auto draw = static_cast<uint16_t>(word);
      const void* const from = size == 4 ? static_cast<const void*>(&values[draw]) : &halves[draw];
      std::memcpy(block.data() + static_cast<size_t>(i) * size, from, size);
    }
    out.write(block.data(), static_cast<std::streamsize>(block.size()));
  }
  out.seekp((tensor.num_elements() - written) * static_cast<int64_t>(SizeOf(options.dtype)), std::ios::cur);
}

void WriteFile(const std::vector<TensorPlan>& tensors, const SyntheticCheckpointOptions& options,
               const std::string& path) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  int64_t offset = 0;
  for (const TensorPlan& tensor : tensors) {
    const int64_t end = offset + tensor.num_elements() * static_cast<int64_t>(SizeOf(options.dtype));
    header[tensor.name] = {{"dtype", Name(options.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string json = header.dump();
  json.resize((json.size() + 7) / 8 * 8, ' ');
  std::ofstream out;
  out.exceptions(std::ios::badbit | std::ios::failbit);
  out.open(path, std::ios::binary | std::ios::trunc);
  const uint64_t json_size = json.size();
  for (int i = 0; i < 8; ++i) out.put(static_cast<char>(json_size >> (8 * i)));
  out << json;
  for (const TensorPlan& tensor : tensors) WriteTensor(tensor, options, out);
  out.close();
  std::filesystem::resize_file(path, 8 + json_size + static_cast<uint64_t>(offset));  // a last row that was left out
}

void WriteJson(const nlohmann::ordered_json& json, const std::string& path) {
  std::ofstream out;
  out.exceptions(std::ios::badbit | std::ios::failbit);
  out.open(path, std::ios::trunc);
  out << json.dump(2) << "\n";
  out.close();
}

void WriteConfigs(const SyntheticCheckpointOptions& o, const std::string& directory) {
  const char* const dtype =
      o.dtype == DType::kBFloat16 ? "bfloat16" : (o.dtype == DType::kFloat16 ? "float16" : "float32");
  nlohmann::ordered_json config = {{"architectures", {"MixtralForCausalLM"}},
                                   {"model_type", "mixtral"},
                                   {"bos_token_id", 1},
                                   {"eos_token_id", 2},
                                   {"hidden_act", "silu"},
                                   {"hidden_size", o.hidden_size},
                                   {"intermediate_size", o.intermediate_size},
                                   {"max_position_embeddings", o.max_position_embeddings},
                                   {"num_attention_heads", o.num_heads},
                                   {"num_experts_per_tok", o.experts_per_token},
                                   {"num_hidden_layers", o.num_layers},
                                   {"num_key_value_heads", o.num_kv_heads},
                                   {"num_local_experts", o.num_experts},
                                   {"rms_norm_eps", 1e-5},
                                   {"rope_theta", o.rope_theta},
                                   {"sliding_window", nullptr},
                                   {"tie_word_embeddings", o.tie_word_embeddings},
                                   {"torch_dtype", dtype},
                                   {"vocab_size", o.vocab_size}};
  if (o.sliding_window) config["sliding_window"] = *o.sliding_window;
  if (o.head_dim) config["head_dim"] = *o.head_dim;
  WriteJson(config, directory + "/config.json");
  WriteJson({{"bos_token_id", 1}, {"eos_token_id", 2}}, directory + "/generation_config.json");
}

void WriteWeights(const SyntheticCheckpointOptions& options, const std::string& directory) {
  const std::vector<TensorPlan> tensors = PlanTensors(options);
  if (options.num_files == 1) return WriteFile(tensors, options, directory + "/model.safetensors");
  int64_t total = 0;
  for (const TensorPlan& tensor : tensors) total += tensor.num_elements();
  CHECK_LE(static_cast<size_t>(options.num_files), tensors.size());
  std::vector<std::vector<TensorPlan>> files(1);
  int64_t remaining = total;
  int64_t in_file = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    // A file is full when it has its share of what was left when it was begun; none may stay empty.
    const int64_t files_left = options.num_files - static_cast<int64_t>(files.size()) + 1;
    const bool is_full = in_file * files_left >= remaining || static_cast<int64_t>(tensors.size() - i) < files_left;
    if (files_left > 1 && !files.back().empty() && is_full) {
      files.emplace_back();
      remaining -= in_file;
      in_file = 0;
    }
    files.back().push_back(tensors[i]);
    in_file += tensors[i].num_elements();
  }
  nlohmann::ordered_json weight_map;
  for (size_t i = 0; i < files.size(); ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", i + 1, files.size());
    for (const TensorPlan& tensor : files[i]) weight_map[tensor.name] = name;
    WriteFile(files[i], options, absl::StrCat(directory, "/", name));
  }
  const int64_t bytes = total * static_cast<int64_t>(SizeOf(options.dtype));
  WriteJson({{"metadata", {{"total_size", bytes}}}, {"weight_map", weight_map}},
            directory + "/model.safetensors.index.json");
}

}  // namespace

absl::Status WriteSyntheticCheckpoint(const SyntheticCheckpointOptions& options, const std::string& directory) {
  CHECK_GT(options.num_files, 0);
  try {
    std::filesystem::create_directories(directory);
    WriteConfigs(options, directory);
    WriteWeights(options, directory);
    return absl::OkStatus();
  } catch (const std::exception& e) {
    return absl::UnavailableError(absl::StrCat("cannot write a checkpoint into ", directory, ": ", e.what()));
  }
}

}  // namespace switchyard
