// The reading half of bpe_model.h.
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/checkpoint/json_fields.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/text/tokenizer_json/bpe_model.h"
#include "engine/text/tokenizer_json/component.h"
#include "engine/text/tokenizer_json/unicode.h"

namespace switchyard::tokenizer_json {
namespace {

using Json = nlohmann::json;
using Vocabulary = StringMap<int32_t>;

constexpr size_t kNumDirectCharacters = 0x800;
constexpr size_t kMaxTokenBytes = 1 << 16;

absl::StatusOr<Vocabulary> ReadVocabulary(const std::string& place, const Json* json) {
  if (json == nullptr || !json->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": vocab must be an object of tokens and ids"));
  }
  Vocabulary vocabulary;
  vocabulary.reserve(json->size());
  absl::flat_hash_map<int32_t, const std::string*> names;
  names.reserve(json->size());
  JsonFields fields(place + ".vocab", *json);
  for (const auto& [token, value] : json->items()) {
    const std::string quoted = QuoteName(token);
    if (token.size() > kMaxTokenBytes) fields.Fail(quoted, absl::StrCat("is longer than ", kMaxTokenBytes, " bytes"));
    if (!value.is_number_unsigned() || value.get<uint64_t>() >= static_cast<uint64_t>(kMaxTokenId)) {
      fields.Fail(quoted, absl::StrCat("has id ", JsonText(value), ", outside [0, ", kMaxTokenId, ")"));
    }
    if (!fields.status().ok()) return fields.status();
    const auto id = value.get<int32_t>();
    const auto [known, is_new] = names.try_emplace(id, &token);
    if (!is_new) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ".vocab: ", QuoteName(*known->second), " and ", quoted, " both have id ", id));
    }
    vocabulary.try_emplace(token, id);
  }
  return vocabulary;
}

// "a b" or ["a", "b"]; null for neither.
std::optional<std::pair<std::string, std::string>> ReadPair(const Json& json) {
  if (json.is_array() && json.size() == 2 && json[0].is_string() && json[1].is_string()) {
    return std::pair(json[0].get<std::string>(), json[1].get<std::string>());
  }
  if (!json.is_string()) return std::nullopt;
  const auto& text = json.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) return std::nullopt;
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

}  // namespace

absl::Status BpeModel::ReadMerges(const std::string& place, const Json& json) {
  merges_.reserve(json.size());
  int32_t rank = 0;
  for (size_t i = 0; i < json.size(); ++i) {
    // Of the text files that old converters read.
    if (json[i].is_string() && json[i].get_ref<const std::string&>().starts_with("#version")) continue;
    const auto fault = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat(place, ".merges[", i, "]: ", JsonText(json[i]), " ", what));
    };
    auto pair = ReadPair(json[i]);
    if (!pair) return fault("must be two tokens: a list of two strings, or a string with one space between them");
    auto& [left, right] = *pair;
    if (right.size() < subword_prefix_.size()) return fault("lacks continuing_subword_prefix");
    const std::optional<int32_t> left_id = Find(left);
    const std::optional<int32_t> right_id = Find(right);
    const std::optional<int32_t> id = Find(left + right.substr(subword_prefix_.size()));
    if (!left_id || !right_id || !id) return fault("makes, or is made of, a token that is not in vocab");
    merges_[PairOf(*left_id, *right_id)] = {.rank = rank++, .id = *id};
  }
  return absl::OkStatus();
}

void BpeModel::BuildSymbolTables() {
  ids_of_characters_.resize(kNumDirectCharacters);
  for (size_t code = 0; code < kNumDirectCharacters; ++code) {
    std::string character;
    AppendCharacter(static_cast<char32_t>(code), &character);
    ids_of_characters_[code] = Find(character).value_or(-1);
  }
  ids_of_bytes_.resize(256);
  for (size_t byte = 0; byte < 256; ++byte) {
    ids_of_bytes_[byte] = Find(absl::StrFormat("<0x%02X>", byte)).value_or(-1);
  }
}

absl::StatusOr<BpeModel> BpeModel::Parse(const std::string& place, const Json& json) {
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": must be an object, not ", JsonText(json)));
  }
  JsonFields fields(place, json);
  // Old files have no type; of the models only this one has merges.
  const std::string type = fields.String("type").value_or(fields.Has("merges") ? "BPE" : "");
  if (!fields.status().ok()) return fields.status();
  if (type != "BPE") return UnsupportedComponent(fields, "model", type, "those of type BPE");
  if (fields.Number("dropout", {}).value_or(0) != 0) {
    return absl::UnimplementedError(
        absl::StrCat(place, ": dropout makes encoding random and is not supported; set it to null"));
  }
  BpeModel model;
  absl::StatusOr<Vocabulary> vocabulary = ReadVocabulary(place, fields.Find("vocab"));
  if (!vocabulary.ok()) return vocabulary.status();
  model.vocabulary_ = *std::move(vocabulary);
  model.subword_prefix_ = fields.String("continuing_subword_prefix").value_or("");
  model.word_suffix_ = fields.String("end_of_word_suffix").value_or("");
  model.fuse_unk_ = fields.Boolean("fuse_unk").value_or(false);
  model.byte_fallback_ = fields.Boolean("byte_fallback").value_or(false);
  model.ignore_merges_ = fields.Boolean("ignore_merges").value_or(false);
  if (const std::optional<std::string> unk = fields.String("unk_token")) {
    model.unk_id_ = model.Find(*unk);
    if (!model.unk_id_) fields.Fail("unk_token", absl::StrCat(QuoteName(*unk), " is not in vocab"));
  }
  const Json* const merges = fields.Find("merges");
  if (merges == nullptr || !merges->is_array()) fields.Fail("merges", "must be a list");
  if (!fields.status().ok()) return fields.status();
  absl::Status status = model.ReadMerges(place, *merges);
  if (!status.ok()) return status;
  model.BuildSymbolTables();
  return model;
}

}  // namespace switchyard::tokenizer_json
