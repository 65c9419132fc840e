#include "engine/text/special_names.h"

#include <algorithm>
#include <functional>
#include <set>

namespace switchyard {
namespace {

constexpr char kGuard = '\xFF';

}  // namespace

SpecialNames::SpecialNames(const Tokenizer& tokenizer) : starts_(256, false) {
  std::set<size_t, std::greater<>> sizes;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.IsSpecial(id)) continue;
    std::string name = tokenizer.Piece(id);
    if (name.size() < 2) continue;
    sizes.insert(name.size());
    starts_[static_cast<unsigned char>(name[0])] = true;
    names_.insert(std::move(name));
  }
  sizes_.assign(sizes.begin(), sizes.end());
}

size_t SpecialNames::MatchAt(std::string_view text) const {
  if (text.empty() || !starts_[static_cast<unsigned char>(text[0])]) return 0;
  for (const size_t size : sizes_) {
    if (size <= text.size() && names_.contains(text.substr(0, size))) return size;
  }
  return 0;
}

std::string SpecialNames::Guard(std::string_view text) const {
  std::string guarded;
  guarded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_name = MatchAt(text.substr(i)) > 0;
    guarded.push_back(text[i]);
    if (!is_name) continue;
    while (i + 1 < text.size() && (static_cast<unsigned char>(text[i + 1]) & 0xC0) == 0x80)
      guarded.push_back(text[++i]);
    guarded.push_back(kGuard);
  }
  return guarded;
}

std::vector<int32_t> SpecialNames::Encode(std::string_view text, const Tokenizer& tokenizer) const {
  if (text.find(kGuard) == std::string_view::npos) {
    return tokenizer.Encode(text, {.add_special_tokens = false, .parse_special_tokens = true});
  }
  std::vector<int32_t> ids;
  std::string run;
  const auto append = [&ids](const std::vector<int32_t>& more) { ids.insert(ids.end(), more.begin(), more.end()); };
  const auto flush = [&] {
    if (run.empty()) return;
    append(tokenizer.Encode(run, {.add_special_tokens = false, .parse_special_tokens = false}));
    run.clear();
  };
  while (!text.empty()) {
    const size_t size = MatchAt(text);
    if (size > 0) {
      flush();
      append(tokenizer.Encode(text.substr(0, size), {.add_special_tokens = false, .parse_special_tokens = true}));
    } else if (text[0] != kGuard) {
      run.push_back(text[0]);
    }
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  flush();
  return ids;
}

}  // namespace switchyard
