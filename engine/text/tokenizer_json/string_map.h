// Hash tables of strings that are asked with views: Debian's Abseil has a string_view of its own.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"

namespace switchyard::tokenizer_json {

struct ViewHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const {
    return absl::Hash<absl::string_view>()(absl::string_view(text.data(), text.size()));
  }
};

template <typename Value>
using StringMap = absl::flat_hash_map<std::string, Value, ViewHash, std::equal_to<>>;
using StringSet = absl::flat_hash_set<std::string, ViewHash, std::equal_to<>>;

}  // namespace switchyard::tokenizer_json
