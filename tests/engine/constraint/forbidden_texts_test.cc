#include "engine/constraint/forbidden_texts.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/engine/constraint/piece_tokenizer.h"

namespace switchyard {
namespace {

TEST(ForbiddenTexts, ForbidsExactlyTheTokensThatCompleteOne) {
  const PieceTokenizer tokenizer({"ab", "abc", "bca", "ca", " cat", "at", "aaa", "xbcay", "b"});
  const auto trie = std::make_shared<const VocabularyTrie>(&tokenizer, tokenizer.vocab_size() + 3);
  const std::vector<std::string> texts = {"abca", "cat", "aaaa", "bc"};
  const auto forbidden = ForbiddenTexts::Create(texts, trie);
  ASSERT_TRUE(forbidden.ok());
  const auto contains = [&](const std::string& text) {
    for (const std::string& each : texts) {
      if (text.find(each) != std::string::npos) return true;
    }
    return false;
  };
  std::mt19937 random(5);
  for (int round = 0; round < 40; ++round) {
    std::string text;
    int32_t state = ForbiddenTexts::kStart;
    for (int step = 0; step < 12; ++step) {
      TokenMask mask(trie->mask_words(), ~0u);
      (*forbidden)->Remove(state, &mask);
      std::vector<int32_t> allowed;
      for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
        const std::string bytes(trie->Bytes(id));
        EXPECT_EQ(IsAllowed(mask, id), bytes.empty() || !contains(text + bytes))
            << "'" << text << "' + '" << bytes << "'";
        const bool is_short = bytes.find_first_not_of("abct") == std::string::npos && !bytes.empty();
        if (IsAllowed(mask, id) && is_short) allowed.push_back(id);
      }
      const int32_t token = allowed[random() % allowed.size()];
      text += trie->Bytes(token);
      state = (*forbidden)->Next(state, token);
    }
  }
}

TEST(ForbiddenTexts, RefusesWhatIsTooMuch) {
  const PieceTokenizer tokenizer;
  const auto trie = std::make_shared<const VocabularyTrie>(&tokenizer, tokenizer.vocab_size());
  EXPECT_FALSE(ForbiddenTexts::Create(std::vector<std::string>{""}, trie).ok());
  EXPECT_FALSE(ForbiddenTexts::Create(std::vector<std::string>(257, "a"), trie).ok());
  EXPECT_FALSE(ForbiddenTexts::Create(std::vector<std::string>{std::string(5000, 'a')}, trie).ok());
}

}  // namespace
}  // namespace switchyard
