#include "engine/text/tokenizer_json/post_processor.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/text/tokenizer_json/component.h"

namespace switchyard::tokenizer_json {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxTemplatePieces = 256;

void AppendId(const Json& json, const char* name, int32_t vocab_size, JsonFields* fields, std::vector<int32_t>* ids) {
  if (json.is_number_unsigned() && json.get<uint64_t>() < static_cast<uint64_t>(vocab_size)) {
    return ids->push_back(json.get<int32_t>());
  }
  fields->Fail(name, absl::StrCat("has id ", JsonText(json), ", outside the vocabulary of ", vocab_size, " tokens"));
}

// The ids that special_tokens gives `name`.
void AppendSpecial(const Json* special_tokens, const std::string& name, int32_t vocab_size, JsonFields* fields,
                   std::vector<int32_t>* ids) {
  const bool has_name = special_tokens != nullptr && special_tokens->is_object() && special_tokens->contains(name);
  const Json entry = has_name ? (*special_tokens)[name] : Json();
  if (!entry.is_object() || !entry.contains("ids") || !entry["ids"].is_array()) {
    return fields->Fail("special_tokens", absl::StrCat("lacks the ids of ", QuoteName(name), ", which single names"));
  }
  for (const Json& id : entry["ids"]) AppendId(id, "special_tokens", vocab_size, fields, ids);
}

absl::Status ReadTemplate(int32_t vocab_size, JsonFields* fields, PostProcessor* around) {
  const Json* const single = fields->Find("single");
  const Json* const special_tokens = fields->Find("special_tokens");
  if (single == nullptr || !single->is_array() || single->size() > kMaxTemplatePieces) {
    fields->Fail("single", absl::StrCat("must be a list of at most ", kMaxTemplatePieces, " pieces"));
    return absl::OkStatus();
  }
  int num_texts = 0;
  for (const Json& piece : *single) {
    const bool has_one = piece.is_object() && piece.size() == 1 && piece.begin()->is_object() &&
                         piece.begin()->contains("id") && (*piece.begin())["id"].is_string();
    const std::string kind = has_one ? piece.begin().key() : "";
    const std::string id = has_one ? (*piece.begin())["id"].get<std::string>() : "";
    if (kind == "Sequence" && id == "A") {
      ++num_texts;
    } else if (kind == "SpecialToken") {
      AppendSpecial(special_tokens, id, vocab_size, fields, num_texts == 0 ? &around->prefix : &around->suffix);
    } else {
      fields->Fail("single", absl::StrCat("has the piece ", JsonText(piece), R"(; "Sequence" A and "SpecialToken" are)",
                                          " known"));
    }
  }
  if (num_texts != 1 && fields->status().ok()) {
    return absl::UnimplementedError(
        absl::StrCat(fields->place(), ": single has the text ", num_texts, " times; only once is supported"));
  }
  return absl::OkStatus();
}

// ["</s>", 2]
void ReadPair(const char* name, int32_t vocab_size, JsonFields* fields, std::vector<int32_t>* ids) {
  const Json* const pair = fields->Find(name);
  if (pair == nullptr || !pair->is_array() || pair->size() != 2)
    return fields->Fail(name, "must be a token and its id");
  AppendId((*pair)[1], name, vocab_size, fields, ids);
}

}  // namespace

absl::StatusOr<PostProcessor> PostProcessor::Parse(const std::string& place, const Json& json, int32_t vocab_size) {
  PostProcessor all;
  const absl::Status status =
      ForEachComponent(place, json, "processors", [&](const std::string& type, JsonFields* fields) -> absl::Status {
        PostProcessor around;
        absl::Status read;
        if (type == "TemplateProcessing") {
          read = ReadTemplate(vocab_size, fields, &around);
        } else if (type == "BertProcessing" || type == "RobertaProcessing") {
          ReadPair("cls", vocab_size, fields, &around.prefix);
          ReadPair("sep", vocab_size, fields, &around.suffix);
        } else if (type != "ByteLevel") {
          return UnsupportedComponent(*fields, "post-processor", type,
                                      "Sequence, TemplateProcessing, BertProcessing, RobertaProcessing and ByteLevel");
        }
        // A later one stands around what the earlier made.
        all.prefix.insert(all.prefix.begin(), around.prefix.begin(), around.prefix.end());
        all.suffix.insert(all.suffix.end(), around.suffix.begin(), around.suffix.end());
        return read;
      });
  if (!status.ok()) return status;
  return all;
}

}  // namespace switchyard::tokenizer_json
