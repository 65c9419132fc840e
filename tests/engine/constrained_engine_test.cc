// Constrained requests on the bundled model, two ranks: whatever it would like to say, the answer is what was asked
// for.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/engine/blocking_client.h"
#include "tests/engine/constraint/schema_validator.h"
#include "tests/engine/constraint/test_schemas.h"
#include "tests/engine/tiny_config.h"

namespace switchyard {
namespace {

class ConstrainedEngine : public testing::Test {
 protected:
  GenerationRequest Request(const std::string& id, int32_t max_tokens, const ConstraintSpec& spec) {
    GenerationRequest request = GreedyRequest(id, engine_->tokenizer()->Encode("What is 12 + 7?", {}), max_tokens);
    request.text_continues_prompt = false;
    ConstraintSpec full = spec;
    full.leading_space_is_dropped = engine_->tokenizer()->drops_leading_space();
    auto grammar = engine_->constraints()->Compile(full);
    EXPECT_TRUE(grammar.ok()) << spec.text << grammar.status();
    if (grammar.ok()) request.rules.grammar = *std::move(grammar);
    return request;
  }
  static ConstraintSpec Schema(const std::string& schema) {
    return {.kind = ConstraintSpec::Kind::kJsonSchema, .text = schema};
  }

  const std::unique_ptr<Engine> engine_ = StartEngine(TinyConfig());
};

TEST_F(ConstrainedEngine, ValidJsonComesOutOfAHotModel) {
  std::vector<GenerationRequest> requests;
  const std::vector<std::string> schemas = TestSchemas();
  for (size_t i = 0; i < schemas.size(); ++i) {
    for (int choice = 0; choice < 3; ++choice) {
      requests.push_back(Request(absl::StrCat(i, "-", choice), 400, Schema(schemas[i])));
      requests.back().sampling = {.temperature = 1.5f, .seed = 100 * i + static_cast<size_t>(choice)};
      requests.back().sampling.repetition_penalty = choice == 2 ? 1.3f : 1.0f;
      requests.back().sampling.top_k = choice == 1 ? 20 : 0;
      requests.back().stop.min_tokens = choice == 1 ? 3 : 0;
    }
  }
  const std::vector<Completion> answers = RunTogether(*engine_, requests);
  int num_complete = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    ASSERT_TRUE(answers[i].status.ok()) << answers[i].status;
    if (answers[i].finish == FinishReason::kLength) continue;
    ++num_complete;
    const auto schema = nlohmann::json::parse(schemas[i / 3]);
    const auto document = nlohmann::json::parse(answers[i].text, nullptr, /*allow_exceptions=*/false);
    EXPECT_FALSE(document.is_discarded()) << schemas[i / 3] << ": " << answers[i].text;
    EXPECT_TRUE(IsValid(document, schema, schema)) << schemas[i / 3] << ": " << answers[i].text;
  }
  EXPECT_GE(num_complete, 54) << "few of the documents are without a bound";
  EXPECT_EQ(engine_->Stats().kv_pages_used, 0);
}

TEST_F(ConstrainedEngine, EndsByItselfOrByItsLength) {
  const Completion whole =
      RunAlone(*engine_, Request("whole", 50, {.kind = ConstraintSpec::Kind::kChoice, .choices = {"yes", "no"}}));
  EXPECT_TRUE(whole.text == "yes" || whole.text == "no") << whole.text;
  EXPECT_EQ(whole.finish, FinishReason::kStop);
  const Completion cut = RunAlone(*engine_, Request("cut", 3, Schema(R"({"type":"string","minLength":200})")));
  EXPECT_EQ(cut.finish, FinishReason::kLength);
  EXPECT_EQ(cut.usage.completion_tokens, 3);
  GenerationRequest endless = Request("endless", 400, Schema(R"({"type":"array","items":{"const":1},"maxItems":9})"));
  endless.stop.ignore_eos = true;
  EXPECT_EQ(RunAlone(*engine_, endless).finish, FinishReason::kStop) << "nothing can be added";
}

TEST_F(ConstrainedEngine, StopStringsStillEndTheText) {
  GenerationRequest request = Request("stop", 50, {.kind = ConstraintSpec::Kind::kChoice, .choices = {"first;second"}});
  request.stop.strings = {";"};
  const Completion answer = RunAlone(*engine_, request);
  EXPECT_EQ(answer.text, "first");
  EXPECT_EQ(answer.matched_stop, ";");
}

TEST_F(ConstrainedEngine, LogProbsAreTheRawModels) {
  GenerationRequest free = GreedyRequest("free", engine_->tokenizer()->Encode("What is 12 + 7?", {}), 1);
  free.num_logprobs = 5;
  GenerationRequest bound = free;
  bound.id = "bound";
  bound.rules.allowed_ids = {RunAlone(*engine_, free).tokens.front().top[3].id};
  const Completion expected = RunAlone(*engine_, free);
  const Completion answer = RunAlone(*engine_, bound);
  ASSERT_EQ(answer.ids(), bound.rules.allowed_ids);
  EXPECT_EQ(answer.tokens.front().top, expected.tokens.front().top);
  EXPECT_EQ(answer.tokens.front().logprob, expected.tokens.front().top[3].logprob);
}

TEST_F(ConstrainedEngine, BadWordsDoNotOccur) {
  GenerationRequest request = GreedyRequest("plain", engine_->tokenizer()->Encode("In the beginning", {}), 60);
  const std::string plain = RunAlone(*engine_, request).text;
  ASSERT_NE(plain.find("the"), std::string::npos);
  request.id = "without";
  request.rules.forbidden = *engine_->constraints()->Forbid(std::vector<std::string>{"the", "LORD", "e "});
  const std::string text = RunAlone(*engine_, request).text;
  for (const char* word : {"the", "LORD", "e "}) EXPECT_EQ(text.find(word), std::string::npos) << text;
  EXPECT_GT(text.size(), 20u);
}

TEST_F(ConstrainedEngine, ARequestWithoutAWayOnFailsAndOthersGoOn) {
  GenerationRequest stuck = Request("stuck", 20, {.kind = ConstraintSpec::Kind::kChoice, .choices = {"yes"}});
  stuck.rules.allowed_ids = {5};
  const std::vector<Completion> answers =
      RunTogether(*engine_, {stuck, GreedyRequest("other", engine_->tokenizer()->Encode("In the beginning", {}), 5)});
  EXPECT_EQ(answers[0].finish, FinishReason::kError);
  EXPECT_EQ(answers[0].status.code(), absl::StatusCode::kInvalidArgument) << answers[0].status;
  EXPECT_EQ(answers[1].usage.completion_tokens, 5);
}

TEST_F(ConstrainedEngine, PreemptionChangesNothing) {
  EngineConfig config = TinyConfig();
  config.max_model_len = 128;
  config.admission = Admission::kOptimistic;
  config.kv_cache_bytes = int64_t{2} * 128 * 2 * 4 * 2 * 64 * 4;
  const std::unique_ptr<Engine> cramped = StartEngine(config);
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 30; ++i) {
    requests.push_back(
        Request(absl::StrCat(i), 60, Schema(R"({"type":"array","items":{"type":"string","minLength":20}})")));
    requests.back().sampling = {.temperature = 1.0f, .seed = static_cast<uint64_t>(i)};
  }
  const std::vector<Completion> expected = RunTogether(*engine_, requests);
  const std::vector<Completion> got = RunTogether(*cramped, requests);
  for (size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(got[i].ids(), expected[i].ids());
  EXPECT_GT(cramped->Stats().num_preemptions, 0u);
}

}  // namespace
}  // namespace switchyard
