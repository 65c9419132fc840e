// What a sequence makes of its tokens as text.
#include <gtest/gtest.h>

#include "engine/sequence.h"
#include "tests/engine/recorded_sequence.h"

namespace switchyard {
namespace {

// Ids 0 to 255 are bytes; the special kEos is called "</s>"; kHello is a word.
class ByteTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kEos = 256;
  static constexpr int32_t kHello = 257;

  ByteTokenizer() {
    for (int byte = 0; byte < 256; ++byte) pieces_.emplace_back(1, static_cast<char>(byte));
    pieces_.emplace_back("</s>");
    pieces_.emplace_back("hello");
  }
  int32_t vocab_size() const override { return static_cast<int32_t>(pieces_.size()); }
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  std::optional<int32_t> eos_id() const override { return kEos; }
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions&) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
  std::string_view Bytes(int32_t id) const override { return pieces_[static_cast<size_t>(id)]; }
  bool drops_leading_space() const override { return false; }
  std::string Piece(int32_t id) const override { return std::string(Bytes(id)); }
  bool IsSpecial(int32_t id) const override { return id == kEos; }

 private:
  std::vector<std::string> pieces_;
};

class SequenceText : public testing::Test {
 protected:
  // Feeds `text` byte by byte, then `ids`, until the sequence has finished.
  void Generate(const GenerationRequest& request, std::string_view text, const std::vector<int32_t>& ids = {}) {
    auto sequence =
        MakeSequence(request, &record_, {.tokenizer = &tokenizer_, .eos_ids = {ByteTokenizer::kEos}, .seed = 1});
    std::vector<int32_t> all = tokenizer_.Encode(text, {});
    all.insert(all.end(), ids.begin(), ids.end());
    for (const int32_t id : all) {
      if (!sequence->finished()) sequence->AddToken({.id = id}, absl::UnixEpoch());
    }
  }
  static GenerationRequest Request(int32_t max_tokens, std::vector<std::string> stops = {}) {
    GenerationRequest request;
    request.id = "r";
    request.prompt = {'x'};
    request.stop.max_tokens = max_tokens;
    request.stop.strings = std::move(stops);
    return request;
  }

  ByteTokenizer tokenizer_;
  Record record_;
};

TEST_F(SequenceText, IsSentWithItsTokens) {
  Generate(Request(3), "abc");
  EXPECT_EQ(record_.updates[0].text, "a");
  EXPECT_EQ(record_.Text(), "abc");
}

TEST_F(SequenceText, EndsBeforeAStopStringOfWhichNothingEscapes) {
  Generate(Request(50, {"stop", "zz"}), "ab sto stop and more");
  EXPECT_EQ(record_.Text(), "ab sto ");
  EXPECT_EQ(record_.last().finish, FinishReason::kStop);
  EXPECT_EQ(record_.last().matched_stop, "stop");
  EXPECT_EQ(record_.last().matched_stop_id, -1);
  EXPECT_EQ(record_.last().usage.completion_tokens, 11);
}

TEST_F(SequenceText, IncludesTheStopStringOnDemand) {
  GenerationRequest request = Request(50, {"stop"});
  request.stop.include_stop_string = true;
  Generate(request, "a stop b");
  EXPECT_EQ(record_.Text(), "a stop");
}

TEST_F(SequenceText, HeldBackForAStopStringIsFlushedAtTheEndByLength) {
  Generate(Request(5, {"stop"}), "a sto");
  EXPECT_EQ(record_.updates[3].text, "");
  EXPECT_EQ(record_.Text(), "a sto");
  EXPECT_EQ(record_.last().finish, FinishReason::kLength);
  EXPECT_EQ(record_.last().matched_stop, "");
}

TEST_F(SequenceText, HeldBackForAStopStringIsFlushedAtTheEndOfSequence) {
  Generate(Request(50, {"stop"}), "a st", {ByteTokenizer::kEos});
  EXPECT_EQ(record_.Text(), "a st");
  EXPECT_EQ(record_.last().finish, FinishReason::kStop);
  EXPECT_EQ(record_.last().matched_stop_id, ByteTokenizer::kEos);
  EXPECT_EQ(record_.last().matched_stop, "");
}

TEST_F(SequenceText, HasNothingOfTheEndOfSequenceEvenIfSpecialTokensAreShown) {
  GenerationRequest request = Request(50);
  request.skip_special_tokens = false;
  Generate(request, "a", {ByteTokenizer::kEos});
  EXPECT_EQ(record_.Text(), "a");
  EXPECT_EQ(record_.TokenIds(), (std::vector<int32_t>{'a', ByteTokenizer::kEos}));
}

TEST_F(SequenceText, HasNothingOfAStopId) {
  GenerationRequest request = Request(50);
  request.stop.token_ids = {ByteTokenizer::kHello};
  Generate(request, "a", {ByteTokenizer::kHello});
  EXPECT_EQ(record_.Text(), "a");
  EXPECT_EQ(record_.last().matched_stop_id, ByteTokenizer::kHello);
}

TEST_F(SequenceText, ComesInWholeCharacters) {
  Generate(Request(3), "\xe2\x82\xac");  // the euro sign
  EXPECT_EQ(record_.updates[0].text, "");
  EXPECT_EQ(record_.updates[1].text, "");
  EXPECT_EQ(record_.updates[2].text, "\xe2\x82\xac");
}

TEST_F(SequenceText, EndsWithAReplacementForAnIncompleteCharacter) {
  Generate(Request(2), "a\xe2");
  EXPECT_EQ(record_.Text(), "a\xef\xbf\xbd");
  EXPECT_EQ(record_.last().finish, FinishReason::kLength);
}

TEST_F(SequenceText, StopsAtAStopStringThatTheReplacementCompletes) {
  Generate(Request(2, {"a\xef\xbf\xbd"}), "a\xe2");
  EXPECT_EQ(record_.Text(), "");
  EXPECT_EQ(record_.last().finish, FinishReason::kStop);
  EXPECT_EQ(record_.last().matched_stop, "a\xef\xbf\xbd");
}

TEST_F(SequenceText, IsNotMadeOnDemandOrWithoutATokenizer) {
  GenerationRequest request = Request(3, {"b"});
  request.detokenize = false;
  Generate(request, "abc");
  EXPECT_EQ(record_.Text(), "");
  EXPECT_EQ(record_.last().finish, FinishReason::kLength);

  Record record;
  auto sequence = MakeSequence(Request(1), &record);
  sequence->AddToken({.id = 'a'}, absl::UnixEpoch());
  EXPECT_EQ(record.Text(), "");
  EXPECT_EQ(record.TokenIds(), (std::vector<int32_t>{'a'}));
}

TEST_F(SequenceText, HasNothingOfThePromptWhenOnlyScoresAreWanted) {
  GenerationRequest request = Request(0);
  request.prompt = {0xe2};  // half a character
  request.num_prompt_logprobs = 0;
  auto sequence = MakeSequence(request, &record_, {.tokenizer = &tokenizer_});
  sequence->AddScores({{.logprob = 0, .top1 = 1}}, absl::UnixEpoch());
  EXPECT_EQ(record_.last().finish, FinishReason::kLength);
  EXPECT_EQ(record_.Text(), "");
}

TEST_F(SequenceText, IsNotFlushedByAnAbort) {
  auto sequence = MakeSequence(Request(9, {"ab"}), &record_, {.tokenizer = &tokenizer_});
  sequence->AddToken({.id = 'a'}, absl::UnixEpoch());
  sequence->Fail(FinishReason::kAborted, absl::CancelledError("gone"), absl::UnixEpoch());
  EXPECT_EQ(record_.Text(), "");
}

}  // namespace
}  // namespace switchyard
