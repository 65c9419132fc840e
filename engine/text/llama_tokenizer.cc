#include "engine/text/llama_tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

constexpr size_t kMaxModelBytes = size_t{256} << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LlamaTokenizer::Open(const std::string& directory, TokenizerConfig config) {
  const std::filesystem::path root(directory);
  const std::string path = root / "tokenizer.model";
  absl::StatusOr<std::string> serialized = ReadTextFile(path, kMaxModelBytes);
  if (!serialized.ok()) return serialized.status();
  std::string error;
  auto model = SentencePieceModel::Parse(*std::move(serialized), /*dummy_prefix=*/config.legacy, &error);
  if (model == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is no SentencePiece model (", error, "); download the file again"));
  }
  std::unique_ptr<LlamaTokenizer> tokenizer(new LlamaTokenizer(std::move(model), std::move(config)));
  for (auto [field, name, id] : {std::tuple{"bos_token", &tokenizer->config_.bos_token, &tokenizer->bos_id_},
                                 std::tuple{"eos_token", &tokenizer->config_.eos_token, &tokenizer->eos_id_}}) {
    if (!name->has_value()) continue;
    *id = tokenizer->Find(**name);
    if (id->has_value()) continue;
    return absl::InvalidArgumentError(absl::StrCat((root / "tokenizer_config.json").string(), ": ", field, " '", **name,
                                                   "' is neither in tokenizer.model nor in added_tokens_decoder"));
  }
  return tokenizer;
}

LlamaTokenizer::LlamaTokenizer(std::unique_ptr<SentencePieceModel> model, TokenizerConfig config)
    : config_(std::move(config)),
      model_(std::move(model)),
      added_tokens_(config_.added_tokens),
      vocabulary_(model_->pieces()),
      drops_leading_space_(config_.legacy ? model_->has_dummy_prefix() : config_.add_prefix_space.value_or(true)) {
  for (const AddedToken& token : added_tokens_.tokens()) {
    const auto id = static_cast<size_t>(token.id);
    if (id >= vocabulary_.size()) vocabulary_.resize(id + 1);
    vocabulary_[id] = {.name = token.content, .bytes = token.content, .special = token.special};
  }
  if (!config_.legacy) num_unk_pieces_ = model_->Encode(config_.unk_token).size();
}

std::optional<int32_t> LlamaTokenizer::Find(std::string_view name) const {
  if (const AddedToken* token = added_tokens_.Find(name); token != nullptr) return token->id;
  return model_->Find(name);
}

void LlamaTokenizer::EncodeSegment(std::string_view text, std::vector<int32_t>* ids) const {
  const bool starts_with_space = text.starts_with(' ') || text.starts_with(kSpaceMark);
  if (config_.legacy || !starts_with_space) {
    const std::vector<int32_t> encoded = model_->Encode(text);
    ids->insert(ids->end(), encoded.begin(), encoded.end());
    return;
  }
  // SentencePiece would drop or merge a leading space; behind another text it keeps it, and that text is cut off again.
  const std::vector<int32_t> encoded = model_->Encode(config_.unk_token + std::string(text));
  const size_t skip = encoded.size() >= num_unk_pieces_ ? num_unk_pieces_ : 0;
  ids->insert(ids->end(), encoded.begin() + static_cast<ptrdiff_t>(skip), encoded.end());
}

std::vector<int32_t> LlamaTokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> ids;
  if (options.add_special_tokens && config_.add_bos_token.value_or(true) && bos_id_) ids.push_back(*bos_id_);
  std::string marked;  // legacy = false: the text behind its one leading space
  const bool marks = !config_.legacy && !text.empty();
  if (marks) {
    marked = MarksToSpaces(text);
    if (config_.add_prefix_space.value_or(true)) marked.insert(0, kSpaceMark);
    text = marked;
  }
  const size_t begin = ids.size();
  if (!options.parse_special_tokens) {
    if (!text.empty()) EncodeSegment(text, &ids);
  } else {
    for (const AddedTokens::Segment& segment : added_tokens_.Split(text)) {
      if (segment.token != nullptr) {
        ids.push_back(segment.token->id);
      } else {
        EncodeSegment(segment.text, &ids);
      }
    }
  }
  // The mark alone before a special token is no text.
  if (marks && ids.size() > begin + 1 && Piece(ids[begin]) == kSpaceMark && IsSpecial(ids[begin + 1])) {
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(begin));
  }
  if (options.add_special_tokens && config_.add_eos_token.value_or(false) && eos_id_) ids.push_back(*eos_id_);
  return ids;
}

std::string_view LlamaTokenizer::Bytes(int32_t id) const {
  return Contains(id) ? std::string_view(vocabulary_[id].bytes) : std::string_view();
}

std::string LlamaTokenizer::Piece(int32_t id) const { return Contains(id) ? vocabulary_[id].name : std::string(); }

bool LlamaTokenizer::IsSpecial(int32_t id) const { return Contains(id) && vocabulary_[id].special; }

}  // namespace switchyard
