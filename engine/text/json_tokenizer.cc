#include "engine/text/json_tokenizer.h"

#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/utf8_assembler.h"

namespace switchyard {
namespace {

constexpr size_t kMaxFileBytes = size_t{128} << 20;

// The classes that put BOS and EOS around a text by themselves.
struct BosRule {
  bool add_bos_by_default = false;
};
std::optional<BosRule> RuleOf(const TokenizerConfig& config) {
  if (!config.names_class) return std::nullopt;
  std::string_view name = config.tokenizer_class;
  if (name.ends_with("Fast")) name.remove_suffix(4);
  if (name == "LlamaTokenizer" || name == "GemmaTokenizer" || name == "CohereTokenizer") return BosRule{true};
  if (name == "GPTNeoXTokenizer") return BosRule{false};
  return std::nullopt;
}

}  // namespace

JsonTokenizer::JsonTokenizer(std::unique_ptr<tokenizer_json::Pipeline> pipeline)
    : pipeline_(std::move(pipeline)), around_(pipeline_->post_processor()) {
  for (int32_t id = 0; id < vocab_size(); ++id) {
    std::string bytes = pipeline_->FirstBytes(id);
    if (bytes != pipeline_->tokens()[id].bytes) first_bytes_.emplace(id, std::move(bytes));
  }
}

absl::StatusOr<std::unique_ptr<Tokenizer>> JsonTokenizer::Open(const std::string& directory,
                                                               const TokenizerConfig& config) {
  const std::filesystem::path root(directory);
  const std::string path = root / "tokenizer.json";
  const absl::StatusOr<std::string> text = ReadTextFile(path, kMaxFileBytes);
  if (!text.ok()) return text.status();
  tokenizer_json::Pipeline::Changes changes{.added_tokens = config.added_tokens, .special_names = config.special_names};
  if (config.names_class && !config.is_llama()) changes.add_prefix_space = config.add_prefix_space.value_or(false);
  absl::StatusOr<std::unique_ptr<tokenizer_json::Pipeline>> pipeline =
      tokenizer_json::Pipeline::Parse(path, *text, changes);
  if (!pipeline.ok()) return pipeline.status();
  std::unique_ptr<JsonTokenizer> tokenizer(new JsonTokenizer(*std::move(pipeline)));
  absl::Status status = tokenizer->FindTokens((root / "tokenizer_config.json").string(), config);
  if (!status.ok()) return status;
  return tokenizer;
}

absl::Status JsonTokenizer::FindTokens(const std::string& path, const TokenizerConfig& config) {
  for (const auto& [name, id] : {std::pair{&config.bos_token, &bos_id_}, std::pair{&config.eos_token, &eos_id_}}) {
    // A default that the file knows nothing of is none.
    if (name->has_value()) *id = pipeline_->Find(**name);
  }
  const std::optional<BosRule> rule = RuleOf(config);
  if (!rule) return absl::OkStatus();
  const bool add_bos = config.add_bos_token.value_or(rule->add_bos_by_default);
  const bool add_eos = config.add_eos_token.value_or(false);
  if ((add_bos && !bos_id_) || (add_eos && !eos_id_)) {
    const char* const field = add_bos && !bos_id_ ? "bos" : "eos";
    return absl::InvalidArgumentError(absl::StrCat(path, ": add_", field, "_token is true (or so by default for ",
                                                   config.tokenizer_class, "), but ", field, "_token is null"));
  }
  around_ = {};
  if (add_bos) around_.prefix = {*bos_id_};
  if (add_eos) around_.suffix = {*eos_id_};
  return absl::OkStatus();
}

std::vector<int32_t> JsonTokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> ids = pipeline_->Encode(ToValidUtf8(text), options.parse_special_tokens);
  if (options.add_special_tokens) {
    ids.insert(ids.begin(), around_.prefix.begin(), around_.prefix.end());
    ids.insert(ids.end(), around_.suffix.begin(), around_.suffix.end());
  }
  return ids;
}

std::string_view JsonTokenizer::Bytes(int32_t id) const {
  return Contains(id) ? std::string_view(pipeline_->tokens()[id].bytes) : std::string_view();
}

std::string_view JsonTokenizer::FirstBytes(int32_t id) const {
  const auto found = first_bytes_.find(id);
  return found == first_bytes_.end() ? Bytes(id) : found->second;
}

std::string JsonTokenizer::Piece(int32_t id) const {
  return Contains(id) ? pipeline_->tokens()[id].name : std::string();
}

bool JsonTokenizer::IsSpecial(int32_t id) const { return Contains(id) && pipeline_->tokens()[id].special; }

}  // namespace switchyard
