#include "engine/text/added_tokens.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

namespace switchyard {
namespace {

// What Python's str.isspace() holds for, in UTF-8.
constexpr std::array<std::string_view, 29> kWhiteSpace = {
    "\t",           "\n",           "\v",           "\f",           "\r",
    "\x1c",         "\x1d",         "\x1e",         "\x1f",         " ",
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
    "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
    "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
    "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

std::string StripLeft(std::string_view text) {
  while (true) {
    const auto space = std::find_if(kWhiteSpace.begin(), kWhiteSpace.end(),
                                    [&](std::string_view candidate) { return text.starts_with(candidate); });
    if (space == kWhiteSpace.end()) return std::string(text);
    text.remove_prefix(space->size());
  }
}

std::string StripRight(std::string_view text) {
  while (true) {
    const auto space = std::find_if(kWhiteSpace.begin(), kWhiteSpace.end(),
                                    [&](std::string_view candidate) { return text.ends_with(candidate); });
    if (space == kWhiteSpace.end()) return std::string(text);
    text.remove_suffix(space->size());
  }
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), sizes_by_first_byte_(256) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    index_[content] = i;
    std::vector<size_t>& sizes = sizes_by_first_byte_[static_cast<unsigned char>(content[0])];
    if (std::find(sizes.begin(), sizes.end(), content.size()) == sizes.end()) sizes.push_back(content.size());
  }
  for (std::vector<size_t>& sizes : sizes_by_first_byte_) std::sort(sizes.begin(), sizes.end(), std::greater<>());
}

const AddedToken* AddedTokens::Find(std::string_view content) const {
  const auto it = index_.find(content);
  return it == index_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedTokens::MatchAt(std::string_view text) const {
  for (const size_t size : sizes_by_first_byte_[static_cast<unsigned char>(text[0])]) {
    if (size > text.size()) continue;
    if (const AddedToken* token = Find(text.substr(0, size)); token != nullptr) return token;
  }
  return nullptr;
}

std::vector<AddedTokens::Segment> AddedTokens::Split(std::string_view text) const {
  std::vector<Segment> segments;
  size_t begin = 0;  // of the ordinary text before `i`
  for (size_t i = 0; i < text.size();) {
    const AddedToken* token = MatchAt(text.substr(i));
    if (token == nullptr) {
      ++i;
      continue;
    }
    if (i > begin) segments.push_back({.text = std::string(text.substr(begin, i - begin))});
    segments.push_back({.text = token->content, .token = token});
    i += token->content.size();
    begin = i;
  }
  if (begin < text.size()) segments.push_back({.text = std::string(text.substr(begin))});

  for (size_t i = 0; i < segments.size(); ++i) {
    const AddedToken* token = Find(segments[i].text);
    if (token == nullptr) continue;
    Segment* left = i > 0 ? &segments[i - 1] : nullptr;
    Segment* right = i + 1 < segments.size() ? &segments[i + 1] : nullptr;
    // Whether the token stands as a word is asked of the neighbours as they were before stripping.
    const bool joins_left = token->single_word && left != nullptr && !left->text.empty() && left->text.back() != ' ';
    const bool joins_right =
        token->single_word && right != nullptr && !right->text.empty() && right->text.front() != ' ';
    if (token->rstrip && right != nullptr) right->text = StripLeft(right->text);
    if (token->lstrip && left != nullptr) left->text = StripRight(left->text);
    if (joins_left) {
      left->text += std::exchange(segments[i].text, {});
    } else if (joins_right) {
      right->text = std::exchange(segments[i].text, {}) + right->text;
    }
  }
  for (Segment& segment : segments) segment.token = Find(segment.text);
  std::erase_if(segments, [](const Segment& segment) { return segment.text.empty(); });
  return segments;
}

}  // namespace switchyard
