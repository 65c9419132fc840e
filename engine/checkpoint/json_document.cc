#include "engine/checkpoint/json_document.h"

#include <exception>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unordered_set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/safetensors.h"

namespace switchyard {
namespace {

constexpr int kMaxDepth = 64;

// Thrown out of the parser, whose callback has no other way to stop, and caught below.
struct RefusedDocument : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Follows the parser's events with one set of names per open object.
class StructureCheck {
 public:
  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= kMaxDepth) throw RefusedDocument(absl::StrCat("nested more than ", kMaxDepth, " deep"));
    }
    if (event == Event::object_start) names_.emplace_back();
    if (event == Event::object_end) names_.pop_back();
    if (event == Event::key) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (!names_.back().insert(name).second) {
        throw RefusedDocument(
            absl::StrCat("the name ", QuoteName(name), " occurs 2 times in one object; 1 is allowed"));
      }
    }
    return true;
  }

 private:
  std::vector<std::unordered_set<std::string>> names_;
};

}  // namespace

absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view file, absl::string_view text) {
  // The JSON library takes a zero byte for the end of its input.
  if (const size_t zero = text.find('\0'); zero != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": not valid JSON at byte ", zero, ": zero byte"));
  }
  try {
    StructureCheck check;
    nlohmann::json document =
        nlohmann::json::parse(text, [&check](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
          return check(depth, event, parsed);
        });
    if (!document.is_object()) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": must be a JSON object, not ", document.type_name()));
    }
    return document;
  } catch (const nlohmann::json::parse_error& e) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": not valid JSON at byte ", e.byte, " of ", text.size(), text.empty() ? ": empty" : ""));
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", e.what()));
  }
}

absl::StatusOr<nlohmann::json> ReadJsonFile(const FileOpener& open, const std::string& path, int64_t max_bytes) {
  absl::StatusOr<std::string> text = ReadTextFile(open, path, max_bytes);
  if (!text.ok()) return text.status();
  return ParseJsonObject(path, *text);
}

}  // namespace switchyard
