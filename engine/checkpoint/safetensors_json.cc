#include "engine/checkpoint/safetensors_json.h"

#include <cstddef>
#include <exception>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/checkpoint/safetensors.h"

namespace switchyard {
namespace {

// Far above any real tensor; keeps a hostile shape from growing.
constexpr size_t kMaxRank = 32;

// Collects the entries event by event, so that nothing outside the expected structure is ever stored.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(absl::string_view file) : file_(file) {}

  const std::string& error() const { return error_; }
  std::vector<RawSafetensorsEntry>& entries() { return entries_; }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool value) override { return Unexpected(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override {
    if (value >= 0) return number_unsigned(static_cast<uint64_t>(value));
    if (place_ == Place::kNumbers) return Fail(absl::StrCat(Where(), " is ", value, "; it must be at least 0"));
    return Unexpected(absl::StrCat(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kNumbers) return Unexpected(absl::StrCat(value));
    const size_t limit = is_shape_ ? kMaxRank : 2;
    if (numbers_->size() == limit) return Fail(absl::StrCat(Where(), " has more than ", limit, " numbers"));
    numbers_->push_back(value);
    return true;
  }
  bool number_float(number_float_t, const std::string& text) override {
    if (place_ != Place::kNumbers) return Unexpected(QuoteName(text));
    return Fail(absl::StrCat(Where(), " is ", QuoteName(text), "; it must be a whole number below 2^64"));
  }
  bool string(std::string& value) override {
    if (place_ == Place::kMetadata) return true;
    if (place_ != Place::kEntry || field_ != "dtype") return Unexpected(QuoteName(value));
    entries_.back().dtype = std::move(value);
    return true;
  }
  bool binary(nlohmann::json::binary_t&) override { return Unexpected("binary data"); }

  bool start_object(std::size_t) override {
    switch (place_) {
      case Place::kOutside:
        place_ = Place::kTop;
        return true;
      case Place::kTop:
        if (field_ == "__metadata__") {
          place_ = Place::kMetadata;
        } else {
          place_ = Place::kEntry;
          entries_.push_back(RawSafetensorsEntry{.name = field_, .dtype = {}, .shape = {}, .offsets = {}});
        }
        seen_in_object_.clear();
        return true;
      default:
        return Unexpected("an object");
    }
  }
  bool key(std::string& name) override {
    std::unordered_set<std::string>& seen = place_ == Place::kTop ? seen_names_ : seen_in_object_;
    if (!seen.insert(name).second) {
      const std::string owner = place_ == Place::kEntry ? absl::StrCat(TensorText(), ": ") : "";
      return Fail(absl::StrCat(owner, "the name ", QuoteName(name), " occurs 2 times in one object; 1 is allowed"));
    }
    if (place_ == Place::kEntry && name != "dtype" && name != "shape" && name != "data_offsets") {
      return Fail(absl::StrCat(TensorText(), ": unknown field ", QuoteName(name)));
    }
    field_ = std::move(name);
    return true;
  }
  bool end_object() override {
    place_ = place_ == Place::kTop ? Place::kOutside : Place::kTop;
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ != Place::kEntry || field_ == "dtype") return Unexpected("an array");
    is_shape_ = field_ == "shape";
    place_ = Place::kNumbers;
    std::optional<std::vector<uint64_t>>& numbers = is_shape_ ? entries_.back().shape : entries_.back().offsets;
    numbers_ = &numbers.emplace();
    return true;
  }
  bool end_array() override {
    place_ = Place::kEntry;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail(absl::StrCat("the header is not valid JSON at byte ", position));
  }

 private:
  enum class Place { kOutside, kTop, kMetadata, kEntry, kNumbers };

  bool Fail(const std::string& what) {
    error_ = absl::StrCat(file_, ": ", what);
    return false;
  }
  bool Unexpected(const std::string& what) { return Fail(absl::StrCat(Where(), " must not be ", what)); }
  std::string TensorText() const { return absl::StrCat("tensor ", QuoteName(entries_.back().name)); }
  std::string Where() const {
    switch (place_) {
      case Place::kOutside:
        return "the header";
      case Place::kTop:
        return QuoteName(field_);
      case Place::kMetadata:
        return absl::StrCat("__metadata__ ", QuoteName(field_));
      case Place::kEntry:
        return absl::StrCat(TensorText(), ": ", field_);
      case Place::kNumbers:
        return absl::StrCat(TensorText(), ": ", field_, "[", numbers_->size(), "]");
    }
    return "";
  }

  const absl::string_view file_;
  std::string error_;
  std::vector<RawSafetensorsEntry> entries_;
  Place place_ = Place::kOutside;
  std::string field_;  // the last key
  bool is_shape_ = false;
  std::vector<uint64_t>* numbers_ = nullptr;  // of the entry being read
  std::unordered_set<std::string> seen_names_;
  std::unordered_set<std::string> seen_in_object_;
};

}  // namespace

absl::StatusOr<std::vector<RawSafetensorsEntry>> ReadSafetensorsJson(absl::string_view file, absl::string_view json) {
  if (json.empty() || json.front() != '{') {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": the header of ", json.size(), " bytes must begin with '{'"));
  }
  // The JSON library takes a zero byte for the end of its input.
  if (const size_t zero = json.find('\0'); zero != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": the header is not valid JSON at byte ", zero, ": zero byte"));
  }
  HeaderHandler handler(file);
  try {
    if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler))
      return absl::InvalidArgumentError(handler.error());
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": the header cannot be parsed: ", e.what()));
  }
  return std::move(handler.entries());
}

}  // namespace switchyard
