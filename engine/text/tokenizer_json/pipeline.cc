#include "engine/text/tokenizer_json/pipeline.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/json_document.h"
#include "engine/checkpoint/json_fields.h"
#include "engine/text/tokenizer_json/component.h"

namespace switchyard::tokenizer_json {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxAddedTokens = 1 << 16;
constexpr size_t kMaxAddedTokenBytes = 1 << 12;

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const std::string& path, const Json* json) {
  std::vector<AddedToken> tokens;
  if (json == nullptr) return tokens;
  if (!json->is_array() || json->size() > kMaxAddedTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": added_tokens must be a list of at most ", kMaxAddedTokens, " tokens"));
  }
  for (size_t i = 0; i < json->size(); ++i) {
    const std::string place = absl::StrCat(path, ": added_tokens[", i, "]");
    const Json& entry = (*json)[i];
    if (!entry.is_object()) {
      return absl::InvalidArgumentError(absl::StrCat(place, ": must be an object, not ", JsonText(entry)));
    }
    JsonFields fields(place, entry);
    AddedToken token{.content = RequiredString(&fields, "content")};
    token.lstrip = fields.Boolean("lstrip").value_or(false);
    token.rstrip = fields.Boolean("rstrip").value_or(false);
    token.single_word = fields.Boolean("single_word").value_or(false);
    token.special = fields.Boolean("special").value_or(false);
    token.normalized = fields.Boolean("normalized").value_or(!token.special);
    if (token.content.size() > kMaxAddedTokenBytes) {
      fields.Fail("content",
                  absl::StrCat("has ", token.content.size(), " bytes; at most ", kMaxAddedTokenBytes, " are allowed"));
    }
    if (!fields.status().ok()) return fields.status();
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace

Pipeline::Pipeline(BpeModel model, Normalizer normalizer, PreTokenizer pre_tokenizer, Decoder decoder)
    : model_(std::move(model)),
      normalizer_(std::move(normalizer)),
      pre_tokenizer_(std::move(pre_tokenizer)),
      decoder_(std::move(decoder)) {}

absl::StatusOr<std::unique_ptr<Pipeline>> Pipeline::Parse(const std::string& path, std::string_view json,
                                                          const Changes& changes) {
  const absl::StatusOr<Json> document = ParseJsonObject(path, absl::string_view(json.data(), json.size()));
  if (!document.ok()) return document.status();
  const auto part = [&](const char* name) { return document->value(name, Json()); };
  const auto place = [&](const char* name) { return absl::StrCat(path, ": ", name); };

  // The small parts first: what is not supported is found before a large vocabulary is read.
  absl::StatusOr<Normalizer> normalizer = Normalizer::Parse(place("normalizer"), part("normalizer"));
  if (!normalizer.ok()) return normalizer.status();
  absl::StatusOr<PreTokenizer> pre_tokenizer =
      PreTokenizer::Parse(place("pre_tokenizer"), part("pre_tokenizer"), changes.add_prefix_space);
  if (!pre_tokenizer.ok()) return pre_tokenizer.status();
  absl::StatusOr<Decoder> decoder = Decoder::Parse(place("decoder"), part("decoder"));
  if (!decoder.ok()) return decoder.status();
  const auto added = document->find("added_tokens");
  absl::StatusOr<std::vector<AddedToken>> added_tokens =
      ReadAddedTokens(path, added == document->end() || added->is_null() ? nullptr : &*added);
  if (!added_tokens.ok()) return added_tokens.status();
  const auto model_json = document->find("model");
  if (model_json == document->end()) return absl::InvalidArgumentError(absl::StrCat(path, ": has no model"));
  absl::StatusOr<BpeModel> model = BpeModel::Parse(place("model"), *model_json);
  if (!model.ok()) return model.status();

  std::unique_ptr<Pipeline> pipeline(
      new Pipeline(*std::move(model), *std::move(normalizer), *std::move(pre_tokenizer), *std::move(decoder)));
  pipeline->AddTokens(*added_tokens, changes);
  pipeline->BuildTokens();
  absl::StatusOr<PostProcessor> post_processor = PostProcessor::Parse(place("post_processor"), part("post_processor"),
                                                                      static_cast<int32_t>(pipeline->tokens_.size()));
  if (!post_processor.ok()) return post_processor.status();
  pipeline->post_processor_ = *std::move(post_processor);
  return pipeline;
}

void Pipeline::AddTokens(const std::vector<AddedToken>& tokens, const Changes& changes) {
  for (const AddedToken& token : tokens) added_.Add(token, model_);
  for (const AddedToken& token : changes.added_tokens) added_.Add(token, model_);
  for (const std::string& name : changes.special_names) {
    if (!added_.Find(name)) added_.Add({.content = name, .special = true, .normalized = false}, model_);
  }
  added_.Finish(normalizer_);
}

void Pipeline::BuildTokens() {
  const auto set = [this](int32_t id, const std::string& name) {
    if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<size_t>(id) + 1);
    tokens_[id] = {.name = name, .bytes = decoder_.Bytes(name, /*is_first=*/false), .special = added_.IsSpecial(name)};
  };
  for (const auto& [name, id] : model_.vocabulary()) set(id, name);
  for (const auto& [id, token] : added_.tokens()) set(id, token.content);
}

std::optional<int32_t> Pipeline::Find(std::string_view name) const {
  if (const std::optional<int32_t> id = added_.Find(name)) return id;
  return model_.Find(name);
}

void Pipeline::EncodeText(std::string_view text, bool at_start, BpeModel::Scratch* scratch,
                          std::vector<int32_t>* ids) const {
  Pieces pieces{.text = std::string(text), .ends = {text.size()}, .at_start = at_start};
  pre_tokenizer_.Apply(&pieces);
  for (size_t i = 0; i < pieces.ends.size(); ++i) model_.Encode(pieces.Piece(i), scratch, ids);
}

std::vector<int32_t> Pipeline::Encode(std::string_view text, bool parse_special) const {
  std::vector<int32_t> ids;
  BpeModel::Scratch scratch;
  for (const auto& raw : added_.Split(text, AddedVocabulary::Kind::kRaw, parse_special)) {
    if (raw.id >= 0) {
      ids.push_back(raw.id);
      continue;
    }
    Stretch stretch{.text = std::string(raw.text), .at_start = raw.text.data() == text.data()};
    normalizer_.Apply(&stretch);
    for (const auto& segment : added_.Split(stretch.text, AddedVocabulary::Kind::kNormalized, parse_special)) {
      if (segment.id >= 0) {
        ids.push_back(segment.id);
      } else {
        EncodeText(segment.text, stretch.at_start && segment.text.data() == stretch.text.data(), &scratch, &ids);
      }
    }
  }
  return ids;
}

}  // namespace switchyard::tokenizer_json
