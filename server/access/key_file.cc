#include "server/access/key_file.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace switchyard {
namespace {

constexpr size_t kMaxKeyBytes = 512;
constexpr size_t kMaxNameBytes = 64;

bool IsName(absl::string_view text) {
  return !text.empty() && text.size() <= kMaxNameBytes && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

bool IsKey(absl::string_view text) {
  return !text.empty() && text.size() <= kMaxKeyBytes &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isgraph(c); });
}

// "max-concurrent=4"
absl::Status ReadLimit(absl::string_view text, KeyLimits* limits) {
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  int64_t* target = parts.first == "max-concurrent"      ? &limits->max_concurrent
                    : parts.first == "tokens-per-minute" ? &limits->tokens_per_minute
                                                         : nullptr;
  if (target == nullptr) {
    return absl::InvalidArgumentError(
        "what follows the key must be max-concurrent=N or tokens-per-minute=N, and comments need a line of their own");
  }
  if (!absl::SimpleAtoi(parts.second, target) || *target < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(parts.first, " must be a whole number of 0 (no limit) or more, but is \"", parts.second, "\""));
  }
  return absl::OkStatus();
}

absl::StatusOr<ApiKey> ParseLine(absl::string_view line, size_t line_number, const KeyLimits& default_limits) {
  const std::vector<absl::string_view> words = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  absl::string_view key = words.front();
  ApiKey parsed{.name = absl::StrCat("key-", line_number), .limits = default_limits};
  if (const size_t colon = key.find(':'); colon != absl::string_view::npos) {
    if (!IsName(key.substr(0, colon))) {
      return absl::InvalidArgumentError(
          "the name before the ':' must be 1 to 64 letters, digits, '-', '_' or '.'; a key that holds a ':' needs a "
          "name: NAME:KEY");
    }
    parsed.name = std::string(key.substr(0, colon));
    key.remove_prefix(colon + 1);
  }
  if (!IsKey(key)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the key must be 1 to ", kMaxKeyBytes, " printable ASCII characters, but has ", key.size()));
  }
  parsed.digest = DigestOf(key);
  for (size_t i = 1; i < words.size(); ++i) {
    if (absl::Status status = ReadLimit(words[i], &parsed.limits); !status.ok()) return status;
  }
  return parsed;
}

}  // namespace

absl::StatusOr<std::vector<ApiKey>> ParseKeys(absl::string_view text, const std::string& origin,
                                              const KeyLimits& default_limits) {
  std::vector<ApiKey> keys;
  std::map<KeyDigest, size_t> line_of;
  std::map<std::string, KeyLimits> limits_of;
  size_t line_number = 0;
  for (const absl::string_view raw : absl::StrSplit(text, '\n')) {
    ++line_number;
    const absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (line.empty() || line.front() == '#') continue;
    const std::string where = absl::StrCat(origin, ", line ", line_number, ": ");
    absl::StatusOr<ApiKey> key = ParseLine(line, line_number, default_limits);
    if (!key.ok()) return absl::InvalidArgumentError(absl::StrCat(where, key.status().message()));
    if (const auto [first, is_new] = line_of.emplace(key->digest, line_number); !is_new) {
      return absl::InvalidArgumentError(absl::StrCat(where, "the same key is on line ", first->second, " already"));
    }
    key->limits = limits_of.emplace(key->name, key->limits).first->second;
    keys.push_back(*std::move(key));
    if (keys.size() > kMaxKeys) {
      return absl::InvalidArgumentError(absl::StrCat(where, "more than ", kMaxKeys, " keys; share some of them"));
    }
  }
  if (!keys.empty()) return keys;
  return absl::InvalidArgumentError(absl::StrCat(origin, ": holds no key; write one per line, or leave the flag out"));
}

absl::StatusOr<std::vector<ApiKey>> ReadKeyFile(const std::string& path, const KeyLimits& default_limits) {
  const std::string origin = absl::StrCat("--api-key-file ", path);
  std::ifstream file(path);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (!file || file.bad()) return absl::InvalidArgumentError(absl::StrCat(origin, ": cannot be read"));
  return ParseKeys(text.str(), origin, default_limits);
}

}  // namespace switchyard
