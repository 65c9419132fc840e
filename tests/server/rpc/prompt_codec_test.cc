// What a gRPC request may ask for, and how it is refused: as over HTTP.
#include "tests/server/rpc/service_fixture.h"

namespace switchyard {
namespace {

using Code = grpc::StatusCode;

class Prompt : public ServiceTest {
 protected:
  // INVALID_ARGUMENT, with all of `words`.
  void ExpectRefusal(const v1::GenerateRequest& request, const std::vector<std::string>& words) {
    const grpc::Status status = Call(request).status;
    EXPECT_EQ(status.error_code(), Code::INVALID_ARGUMENT) << status.error_message();
    for (const std::string& word : words) {
      EXPECT_NE(status.error_message().find(word), std::string::npos) << status.error_message();
    }
  }
  std::vector<int32_t> PromptOf(const v1::GenerateRequest& request) {
    const grpc::Status status = Call(request).status;
    EXPECT_TRUE(status.ok()) << status.error_message();
    return engine_->submitted().back().prompt;
  }
  static v1::GenerateRequest ChatRequest(const std::string& role, const std::string& content) {
    v1::GenerateRequest request;
    v1::ChatMessage* message = request.mutable_chat()->add_messages();
    message->set_role(role);
    message->set_content(content);
    return request;
  }
  std::string TextOf(const std::vector<int32_t>& ids) { return FakeTokenizer().Decode(ids, true); }
};

TEST_F(Prompt, TakesSpecialTokensThatAreSpelledOut) {
  Start();
  v1::GenerateRequest request = TextRequest("a");
  request.set_text("a</s>");
  EXPECT_EQ(PromptOf(request),
            (std::vector<int32_t>{FakeTokenizer::kBos, FakeTokenizer::kFirstByte + 'a', FakeTokenizer::kEos}));
}

TEST_F(Prompt, KeepsTheLastTokensWhenAskedTo) {
  Start();
  v1::GenerateRequest request = TextRequest("a");
  request.set_text("abcd");
  request.set_truncate_prompt_tokens(2);
  EXPECT_EQ(TextOf(PromptOf(request)), "cd");
  request.set_truncate_prompt_tokens(100);
  EXPECT_EQ(TextOf(PromptOf(request)), "abcd");
  request.set_truncate_prompt_tokens(0);
  ExpectRefusal(request, {"`truncate_prompt_tokens` is 0"});
}

TEST_F(Prompt, ShowsDocumentsToTheTemplate) {
  Start();
  v1::GenerateRequest request = ChatRequest("user", "hi");
  request.mutable_chat()->add_documents(R"({"text":"d"})");
  EXPECT_EQ(TextOf(PromptOf(request)), "document: {\"text\":\"d\"}\nuser: hi\n");
}

TEST_F(Prompt, IsRefusedWhenItIsEmpty) {
  Start();
  v1::GenerateRequest request = TextRequest("a");
  request.set_text("");
  ExpectRefusal(request, {"`text` is empty"});
  request.mutable_chat();
  ExpectRefusal(request, {"`messages` is empty"});
  // Nothing is there to be continued.
  request.mutable_chat()->set_continue_final_message(true);
  ExpectRefusal(request, {"`messages` is empty"});
}

TEST_F(Prompt, IsContinuedOnlyWhereTheAssistantSpeaks) {
  Start();
  v1::GenerateRequest request = ChatRequest("assistant", "It is");
  request.mutable_chat()->set_continue_final_message(true);
  EXPECT_EQ(TextOf(PromptOf(request)), "assistant: It is");
  request.mutable_chat()->set_add_generation_prompt(true);
  ExpectRefusal(request, {"`continue_final_message` excludes"});
  request = ChatRequest("user", "It is");
  request.mutable_chat()->set_continue_final_message(true);
  ExpectRefusal(request, {"needs an assistant's message"});
}

TEST_F(Prompt, OverTheContextIsRefusedWithBothNumbers) {
  Start({.engine = {.max_model_len = 100}, .limits = {}, .api_keys = {}});
  v1::GenerateRequest request = TextRequest("a");  // 3 tokens
  request.mutable_stop()->set_max_tokens(98);
  ExpectRefusal(request, {"`max_tokens`", "100 tokens", "3 with 98 to generate are 101"});
  request.mutable_stop()->set_max_tokens(97);
  EXPECT_TRUE(Call(request).status.ok());
  // Not even encoded.
  request.set_text(std::string(20'000, 'x'));
  ExpectRefusal(request, {"`text` has 20000 bytes", "100 tokens"});
  request = ChatRequest("user", std::string(20'000, 'x'));
  ExpectRefusal(request, {"`messages` has 20000 bytes", "100 tokens"});
}

TEST_F(Prompt, NearTheEndOfTheContextLeavesWhatFits) {
  Start({.engine = {.max_model_len = 10}, .limits = {}, .api_keys = {}});
  v1::GenerateRequest request;
  request.set_text("hi");
  EXPECT_TRUE(Call(request).status.ok());
  EXPECT_EQ(engine_->submitted().back().stop.max_tokens, 7);  // not the default of 16
}

TEST_F(Prompt, GivesTheExpertsOfEveryTokenWhenAskedTo) {
  Start();
  v1::GenerateRequest request = TextRequest("a", 3);
  EXPECT_EQ(Call(request).merged.expert_ids_size(), 0);
  request.set_return_expert_ids(true);
  const Answer answer = Call(request);
  ASSERT_EQ(answer.merged.expert_ids_size(), 3);
  for (int idx = 0; idx < 3; ++idx) {
    const auto& ids = answer.merged.expert_ids(idx).ids();
    EXPECT_EQ(std::vector<int16_t>(ids.begin(), ids.end()), FakeEngine::ExpertsOf(idx));
  }
}

}  // namespace
}  // namespace switchyard
