#include "server/rpc/generation_service.h"

#include <chrono>
#include <map>

#include "engine/retry_after.h"
#include "server/rpc/grpc_server.h"
#include "tests/server/rpc/service_fixture.h"

namespace switchyard {
namespace {

using Code = grpc::StatusCode;

class Generate : public ServiceTest {};
class GenerateBatch : public ServiceTest {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::GenerateRequest, v1::GenerateResponse>;
  // Per request id; errors of a duplicate are in `errors`.
  static std::map<std::string, v1::GenerateResponse> ReadAll(Stream* stream) {
    std::map<std::string, v1::GenerateResponse> answers;
    v1::GenerateResponse response;
    while (stream->Read(&response)) Merge(response, &answers[response.request_id()]);
    return answers;
  }
};
class Unary : public ServiceTest {};

TEST_F(Generate, StreamsTokensTextUsageAndFinish) {
  Start();
  const Answer answer = Call(TextRequest("a"));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.merged.text(), "Hello, world!");
  EXPECT_EQ(answer.merged.token_ids_size(), 14);  // with the end of sequence
  EXPECT_EQ(answer.merged.finish().reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.merged.finish().stop_token_id(), FakeTokenizer::kEos);
  EXPECT_EQ(answer.merged.usage().prompt_tokens(), 3);
  EXPECT_EQ(answer.merged.usage().completion_tokens(), 14);
  EXPECT_EQ(answer.merged.logprobs_size(), 0);
  EXPECT_FALSE(answer.merged.has_status());
}

TEST_F(Generate, UsageCountsCachedTokens) {
  Start();
  EXPECT_EQ(Call(TextRequest("a")).merged.usage().cached_tokens(), 0);
  EXPECT_EQ(Call(TextRequest("b")).merged.usage().cached_tokens(), 2);
}

TEST_F(Generate, SendsLogProbabilitiesOfPromptAndTokensWhenAsked) {
  Start();
  v1::GenerateRequest request = TextRequest("a", 2);
  request.set_num_logprobs(2);
  request.set_num_prompt_logprobs(0);
  const Answer answer = Call(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_EQ(answer.merged.logprobs_size(), 2);
  EXPECT_EQ(answer.merged.logprobs(1).logprob(), FakeEngine::LogProbOf(1));
  EXPECT_EQ(answer.merged.logprobs(1).top_size(), 2);
  EXPECT_EQ(answer.merged.prompt_logprobs().entries_size(), 2);
  EXPECT_EQ(answer.merged.prompt_logprobs().top1_size(), 3);
  EXPECT_EQ(answer.merged.finish().reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(Generate, TakesConstraints) {
  Start();
  v1::GenerateRequest request = TextRequest("a");
  request.mutable_constraint()->set_json_schema(R"({"type":"integer"})");
  request.mutable_sampling()->add_allowed_token_ids(5);
  request.mutable_sampling()->add_bad_words("damn");
  ASSERT_TRUE(Call(request).status.ok());
  const TokenRules rules = engine_->submitted().back().rules;
  EXPECT_NE(rules.grammar, nullptr);
  EXPECT_NE(rules.forbidden, nullptr);
  EXPECT_EQ(rules.allowed_ids, std::vector<int32_t>{5});
  request.set_request_id("b");
  request.mutable_constraint()->set_json_schema(R"({"not":{}})");
  const Answer refused = Call(request);
  EXPECT_EQ(refused.status.error_code(), Code::INVALID_ARGUMENT);
  EXPECT_NE(refused.status.error_message().find("not at #"), std::string::npos) << refused.status.error_message();
  request.mutable_constraint()->set_json_object(false);
  EXPECT_TRUE(Call(request).status.ok());
  EXPECT_EQ(engine_->submitted().back().rules.grammar, nullptr);
}

TEST_F(Generate, MergesWhatASlowReaderLeaves) {
  Start({.engine = {.output = std::string(5000, 'x'), .max_model_len = 1 << 20}, .limits = {}, .api_keys = {}});
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, TextRequest("a", 5000));
  engine_->WaitForSubmitted(1);
  engine_->WaitForInFlight(0);  // all is generated before the first read
  const Answer answer = ReadAll(reader.get());
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.merged.text(), std::string(5000, 'x'));
  EXPECT_EQ(answer.merged.token_ids_size(), 5000);
  EXPECT_LT(answer.num_responses, 10);
}

TEST_F(Generate, AbortsWhenTheReaderIsSlowerThanItsLimit) {
  Start({.engine = {.output = std::string(5000, 'x'), .max_model_len = 1 << 20},
         .limits = {.max_pending_bytes = 2000},
         .api_keys = {}});
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, TextRequest("a", 5000));
  engine_->WaitForSubmitted(1);
  engine_->WaitForInFlight(0);
  EXPECT_EQ(engine_->num_aborted(), 1u);
  EXPECT_EQ(ReadAll(reader.get()).status.error_code(), Code::RESOURCE_EXHAUSTED);
}

TEST_F(Generate, CancellationAbortsInTheEngine) {
  Start({.engine = {.hold = true}, .limits = {}, .api_keys = {}});
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, TextRequest("a"));
  engine_->WaitForSubmitted(1);
  context.TryCancel();
  engine_->WaitForInFlight(0);
  EXPECT_EQ(engine_->num_aborted(), 1u);
  EXPECT_EQ(ReadAll(reader.get()).status.error_code(), Code::CANCELLED);
}

TEST_F(Generate, TellsTheEngineTheDeadlineAndThePriority) {
  Start();
  v1::GenerateRequest request = TextRequest("a");
  request.set_priority(-3);
  request.set_cache_salt("mine");
  grpc::ClientContext context;
  const auto deadline = std::chrono::system_clock::now() + std::chrono::hours(1);
  context.set_deadline(deadline);
  EXPECT_TRUE(ReadAll(stub_->Generate(&context, request).get()).status.ok());
  const GenerationRequest submitted = engine_->submitted().front();
  EXPECT_EQ(submitted.priority, -3);
  EXPECT_EQ(submitted.cache_salt, "mine");
  EXPECT_LT(absl::AbsDuration(submitted.deadline - absl::FromChrono(deadline)), absl::Seconds(60));
}

TEST_F(Generate, ARefusalSaysWhenToRetryInItsTrailingMetadata) {
  Start({.engine = {.submit_status = WithRetryAfter(absl::ResourceExhaustedError("the queue is full"), 17)},
         .limits = {},
         .api_keys = {}});
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, TextRequest("a"));
  EXPECT_EQ(ReadAll(reader.get()).status.error_code(), Code::RESOURCE_EXHAUSTED);
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto entry = metadata.find("retry-after");
  ASSERT_NE(entry, metadata.end());
  EXPECT_EQ(std::string(entry->second.data(), entry->second.size()), "17");
}

TEST_F(Generate, DeadlineAbortsInTheEngine) {
  Start({.engine = {.hold = true}, .limits = {}, .api_keys = {}});
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  const auto reader = stub_->Generate(&context, TextRequest("a"));
  EXPECT_EQ(ReadAll(reader.get()).status.error_code(), Code::DEADLINE_EXCEEDED);
  engine_->WaitForInFlight(0);
}

TEST_F(Generate, AbortOfAnotherCallEndsTheStreamWithCancelled) {
  Start({.engine = {.hold = true}, .limits = {}, .api_keys = {}});
  grpc::ClientContext context, abort_context;
  const auto reader = stub_->Generate(&context, TextRequest("mine"));
  engine_->WaitForSubmitted(1);
  v1::AbortRequest abort;
  v1::AbortResponse aborted;
  abort.set_request_id("mine");
  ASSERT_TRUE(stub_->Abort(&abort_context, abort, &aborted).ok());
  const Answer answer = ReadAll(reader.get());
  EXPECT_EQ(answer.status.error_code(), Code::CANCELLED);
  EXPECT_NE(answer.status.error_message().find("mine"), std::string::npos);
}

TEST_F(Generate, TakesTheCheckpointsDefaultsForAbsentFieldsOnly) {
  GenerationDefaults defaults;
  defaults.temperature = 0.5f;
  defaults.top_k = 7;
  Start({.engine = {.defaults = defaults}, .limits = {}, .api_keys = {}});
  v1::GenerateRequest request = TextRequest("a");
  request.mutable_sampling()->set_top_k(0);
  ASSERT_TRUE(Call(request).status.ok());
  const GenerationRequest submitted = engine_->submitted().at(0);
  EXPECT_EQ(submitted.sampling.temperature, 0.5f);
  EXPECT_EQ(submitted.sampling.top_k, 0);
  EXPECT_EQ(submitted.sampling.top_p, 1.0f);
  EXPECT_FALSE(submitted.sampling.seed.has_value());
}

TEST_F(Generate, RequestsWithoutIdGetDifferentOnes) {
  Start();
  ASSERT_TRUE(Call(TextRequest("")).status.ok());
  ASSERT_TRUE(Call(TextRequest("")).status.ok());
  EXPECT_NE(engine_->submitted().at(0).id, "");
  EXPECT_NE(engine_->submitted().at(0).id, engine_->submitted().at(1).id);
}

TEST_F(Generate, RefusesWithTheCodeOfTheFault) {
  Start({.engine = {.has_tokenizer = false}, .limits = {}, .api_keys = {}});
  v1::GenerateRequest other_model = TextRequest("a");
  other_model.set_model("gpt-4");
  EXPECT_EQ(Call(other_model).status.error_code(), Code::NOT_FOUND);
  EXPECT_EQ(Call(v1::GenerateRequest()).status.error_code(), Code::INVALID_ARGUMENT);
  EXPECT_EQ(Call(TextRequest("a")).status.error_code(), Code::UNIMPLEMENTED);
  v1::GenerateRequest tokens;
  tokens.mutable_tokens()->add_ids(5);
  EXPECT_TRUE(Call(tokens).status.ok());
}

TEST_F(Generate, PassesOnTheEnginesRefusal) {
  Start({.engine = {.submit_status = absl::ResourceExhaustedError("the queue is full")}, .limits = {}, .api_keys = {}});
  const grpc::Status status = Call(TextRequest("a")).status;
  EXPECT_EQ(status.error_code(), Code::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "the queue is full");
}

TEST_F(Generate, ARequestThatFailsInTheEngineEndsWithItsStatusAfterItsTokens) {
  Start({.engine = {.fail_after_tokens = 2}, .limits = {}, .api_keys = {}});
  const Answer answer = Call(TextRequest("a"));
  EXPECT_EQ(answer.merged.text(), "He");
  EXPECT_EQ(answer.status.error_code(), Code::INTERNAL);
}

TEST_F(Generate, IsUnavailableWhileLoadingDrainingOrFailed) {
  Start({.engine = {}, .limits = {}, .api_keys = {}, .serving = false});
  EXPECT_EQ(Call(TextRequest("a")).status.error_code(), Code::UNAVAILABLE);
  slot_.Serve(engine_.get());
  EXPECT_TRUE(Call(TextRequest("a")).status.ok());
  slot_.BeginDrain();
  EXPECT_EQ(Call(TextRequest("a")).status.error_code(), Code::UNAVAILABLE);
  slot_.Fail(absl::UnavailableError("rank 1 was lost"));
  const grpc::Status failed = Call(TextRequest("a")).status;
  EXPECT_EQ(failed.error_code(), Code::UNAVAILABLE);
  EXPECT_NE(failed.error_message().find("rank 1"), std::string::npos);
}

TEST_F(Generate, NeedsAKeyWhereThereAreKeys) {
  Start({.engine = {}, .limits = {}, .api_keys = "secret"});
  EXPECT_EQ(Call(TextRequest("a")).status.error_code(), Code::UNAUTHENTICATED);
  for (const auto& [key, code] : {std::pair("Bearer wrong", Code::UNAUTHENTICATED), {"Bearer secret", Code::OK}}) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", key);
    EXPECT_EQ(ReadAll(stub_->Generate(&context, TextRequest("a")).get()).status.error_code(), code) << key;
  }
}

TEST_F(GenerateBatch, OneRequestsErrorLeavesTheOthers) {
  Start();
  grpc::ClientContext context;
  const auto stream = stub_->GenerateBatch(&context);
  v1::GenerateRequest without_prompt;
  without_prompt.set_request_id("bad");
  stream->Write(TextRequest("a"));
  stream->Write(without_prompt);
  stream->Write(TextRequest("b", 5));
  stream->WritesDone();
  auto answers = ReadAll(stream.get());
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(answers["a"].text(), "Hello, world!");
  EXPECT_EQ(answers["a"].status().code(), 0);
  EXPECT_TRUE(answers["a"].has_status());
  EXPECT_EQ(answers["b"].text(), "Hello");
  EXPECT_EQ(answers["b"].finish().reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(answers["bad"].status().code(), Code::INVALID_ARGUMENT);
  EXPECT_FALSE(answers["bad"].has_finish());
}

TEST_F(GenerateBatch, AnIdInFlightIsRefusedAndTheFirstGoesOn) {
  Start({.engine = {.hold = true}, .limits = {}, .api_keys = {}});
  grpc::ClientContext context;
  const auto stream = stub_->GenerateBatch(&context);
  stream->Write(TextRequest("a"));
  stream->Write(TextRequest("a"));
  stream->WritesDone();
  v1::GenerateResponse refusal;
  ASSERT_TRUE(stream->Read(&refusal));
  EXPECT_EQ(refusal.status().code(), Code::ALREADY_EXISTS);
  engine_->Release();
  auto answers = ReadAll(stream.get());
  EXPECT_EQ(answers["a"].text(), "Hello, world!");
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GenerateBatch, ReadsOnlyAsManyRequestsAsMayBeInFlight) {
  Start({.engine = {.hold = true}, .limits = {.max_batch_requests = 2}, .api_keys = {}});
  grpc::ClientContext context;
  const auto stream = stub_->GenerateBatch(&context);
  engine_->Step(0);
  for (const char* id : {"a", "b"}) stream->Write(TextRequest(id));
  engine_->WaitForSubmitted(2);
  std::thread writer([&] {
    for (const char* id : {"c", "d", "e"}) stream->Write(TextRequest(id));
    stream->WritesDone();
  });
  EXPECT_EQ(engine_->submitted().size(), 2u);
  engine_->Release();
  const auto answers = ReadAll(stream.get());
  writer.join();
  EXPECT_EQ(answers.size(), 5u);
  for (const auto& [id, answer] : answers) EXPECT_EQ(answer.text(), "Hello, world!") << id;
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GenerateBatch, CancellationAbortsAllOfIt) {
  Start({.engine = {.hold = true}, .limits = {}, .api_keys = {}});
  grpc::ClientContext context;
  const auto stream = stub_->GenerateBatch(&context);
  for (const char* id : {"a", "b", "c"}) stream->Write(TextRequest(id));
  engine_->WaitForSubmitted(3);
  context.TryCancel();
  engine_->WaitForInFlight(0);
  EXPECT_EQ(engine_->num_aborted(), 3u);
  EXPECT_EQ(stream->Finish().error_code(), Code::CANCELLED);
}

TEST_F(Unary, TokenizesAndDetokenizes) {
  Start();
  grpc::ClientContext first, second, third;
  v1::TokenizeRequest text;
  text.set_text("ab");
  text.set_add_special_tokens(false);
  v1::TokenizeResponse ids;
  ASSERT_TRUE(stub_->Tokenize(&first, text, &ids).ok());
  ASSERT_EQ(ids.token_ids_size(), 2);
  v1::DetokenizeRequest back;
  *back.mutable_token_ids() = ids.token_ids();
  v1::DetokenizeResponse response;
  ASSERT_TRUE(stub_->Detokenize(&second, back, &response).ok());
  EXPECT_EQ(response.text(), "ab");
  back.add_token_ids(100000);
  EXPECT_EQ(stub_->Detokenize(&third, back, &response).error_code(), Code::INVALID_ARGUMENT);
}

TEST_F(Unary, DescribesModelAndLoad) {
  Start();
  EngineStats stats;
  stats.kv_pages_total = 10;
  stats.kv_pages_used = 3;
  stats.expert_tokens = {{4, 5}};
  engine_->SetStats(stats);
  grpc::ClientContext first, second, third;
  v1::GetModelInfoResponse info;
  ASSERT_TRUE(stub_->GetModelInfo(&first, {}, &info).ok());
  EXPECT_EQ(info.model(), "fake-model");
  EXPECT_EQ(info.num_experts(), 8);
  v1::GetLoadResponse load;
  ASSERT_TRUE(stub_->GetLoad(&second, {}, &load).ok());
  EXPECT_EQ(load.kv_pages_used(), 3);
  v1::GetExpertLoadResponse experts;
  ASSERT_TRUE(stub_->GetExpertLoad(&third, {}, &experts).ok());
  EXPECT_EQ(experts.layers(0).expert_tokens(1), 5u);
}

TEST(GrpcServer, ServesOnAFreePortAndRefusesATakenOne) {
  Edge edge;
  FakeEngine engine;
  EngineSlot slot("fake-model");
  slot.Serve(&engine);
  const auto server = GrpcServer::Start({.port = 0}, &slot, &edge);
  ASSERT_TRUE(server.ok()) << server.status();
  ASSERT_NE((*server)->port(), 0);
  const auto second = GrpcServer::Start({.port = (*server)->port()}, &slot, &edge);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);

  const std::string address = "127.0.0.1:" + std::to_string((*server)->port());
  const auto stub = v1::Generation::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::GetModelInfoResponse info;
  EXPECT_TRUE(stub->GetModelInfo(&context, {}, &info).ok());
  (*server)->Shutdown(absl::Seconds(5));
}

}  // namespace
}  // namespace switchyard
