#include "tests/engine/poisoned_token.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/engine/blocking_client.h"
#include "tests/support/synthetic_checkpoint.h"

namespace switchyard {
namespace {

constexpr int32_t kPoison = 63;
constexpr int64_t kHidden = 64;

SyntheticCheckpointOptions SmallModel() {
  return {.vocab_size = 64, .hidden_size = kHidden, .intermediate_size = 64, .num_heads = 4, .num_kv_heads = 2};
}

// Overwrites the row of `token` in a safetensors file: 8 bytes of header size, the header, the data.
void PoisonEmbedding(const std::string& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  uint64_t header_bytes = 0;
  file.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
  std::string header(header_bytes, '\0');
  file.read(header.data(), static_cast<std::streamsize>(header_bytes));
  const auto entry = nlohmann::json::parse(header)["model.embed_tokens.weight"];
  ASSERT_EQ(entry["dtype"], "BF16");
  const uint64_t begin = sizeof(header_bytes) + header_bytes + entry["data_offsets"][0].get<uint64_t>();
  const std::vector<uint16_t> row(kHidden, 0x7fc0);  // NaN
  file.seekp(static_cast<std::streamoff>(begin + kPoison * kHidden * sizeof(uint16_t)));
  file.write(reinterpret_cast<const char*>(row.data()), kHidden * sizeof(uint16_t));
  ASSERT_TRUE(file.flush().good());
}

// Prompts of unequal length without the poison, as many as needed to fill a step with several of each rank.
std::vector<GenerationRequest> SoundRequests(const std::string& name) {
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 6; ++i) {
    std::vector<int32_t> prompt;
    for (int j = 0; j < 3 + 2 * i; ++j) prompt.push_back(3 + (7 * i + 11 * j) % 50);
    requests.push_back(i % 3 == 2 ? ScoringRequest(absl::StrCat(name, i), prompt)
                                  : GreedyRequest(absl::StrCat(name, i), prompt, 8));
    requests.back().stop.ignore_eos = true;
    requests.back().sampling.logit_bias = {{kPoison, -100.0f}};
  }
  return requests;
}

// A beginning of two pages that a poisoned request shares, and a sound end.
GenerationRequest SharedBeginning(const std::string& id, std::vector<int32_t> end) {
  std::vector<int32_t> prompt = {5, 6, 7, 8, 9, 10, 11, 12};
  prompt.insert(prompt.end(), end.begin(), end.end());
  GenerationRequest request = GreedyRequest(id, prompt, 4);
  request.stop.ignore_eos = true;
  return request;
}

void ExpectSame(const std::vector<Completion>& got, const std::vector<Completion>& expected, const std::string& where) {
  for (size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(absl::StrCat(where, ", request ", i));
    EXPECT_EQ(got[i].finish, FinishReason::kLength) << got[i].status;
    EXPECT_EQ(got[i].ids(), expected[i].ids());
    EXPECT_EQ(got[i].prompt_top1, expected[i].prompt_top1);
    ASSERT_EQ(got[i].prompt_logprobs.size(), expected[i].prompt_logprobs.size());
    for (size_t j = 0; j < expected[i].prompt_logprobs.size(); ++j) {
      EXPECT_NEAR(got[i].prompt_logprobs[j].logprob, expected[i].prompt_logprobs[j].logprob, 1e-3);
    }
  }
}

}  // namespace

void ExpectNanToFailItsOwnRequestOnly(EngineConfig config, const std::string& where) {
  SCOPED_TRACE(where);
  config.model_dir = absl::StrCat(testing::TempDir(), "/poisoned_token_", where);
  ASSERT_TRUE(WriteSyntheticCheckpoint(SmallModel(), config.model_dir).ok());
  config.max_model_len = 32;
  config.page_size = 4;
  std::vector<Completion> expected, expected_shared;
  {
    const std::unique_ptr<Engine> sound = StartEngine(config);
    expected = RunTogether(*sound, SoundRequests("sound "));
    expected_shared = RunTogether(*sound, {SharedBeginning("shared", {13, 14, 15})});
  }
  PoisonEmbedding(config.model_dir + "/model.safetensors");

  const std::unique_ptr<Engine> engine = StartEngine(config);
  std::vector<GenerationRequest> requests = SoundRequests("beside ");
  const size_t num_sound = requests.size();
  requests.push_back(GreedyRequest("last token", {5, 6, kPoison}, 4));
  requests.push_back(GreedyRequest("first token", {kPoison, 5, 6, 7, 8, 9}, 4));
  requests.push_back(ScoringRequest("scored", {5, 6, kPoison, 7, 8}));
  requests.push_back(GreedyRequest("scored and continued", {5, kPoison, 7, 8}, 4));
  requests.back().num_prompt_logprobs = 3;
  requests.push_back(GreedyRequest("drawn", {5, 6, kPoison}, 4));
  requests.back().sampling.temperature = 1.0f;
  requests.back().num_logprobs = 3;
  const std::vector<Completion> got = RunTogether(*engine, requests);
  ExpectSame(got, expected, "in the same steps");
  for (size_t i = num_sound; i < got.size(); ++i) {
    EXPECT_EQ(got[i].finish, FinishReason::kError) << requests[i].id;
    EXPECT_NE(got[i].status.message().find("not numbers"), std::string::npos) << got[i].status;
    EXPECT_TRUE(got[i].tokens.empty()) << requests[i].id;
  }
  EXPECT_EQ(engine->Stats().kv_pages_used, 0);
  EXPECT_EQ(engine->Stats().requests_error, got.size() - num_sound);
  // The pages of the failed are used again, with NaN beyond what their new owners have written.
  ExpectSame(RunTogether(*engine, SoundRequests("after ")), expected, "on the same pages");
  // Nor does the prefix cache give them to others. What the failed one shared is suspect, and computed anew.
  const std::vector<std::pair<std::string, int32_t>> cached = {{"first", 0}, {"again", 8}, {"after", 0}, {"end", 8}};
  for (const auto& [id, cached_tokens] : cached) {
    if (id == "after") {
      EXPECT_EQ(RunAlone(*engine, SharedBeginning("poisoned", {kPoison, 13, 14, 15, 16})).finish, FinishReason::kError);
    }
    const std::vector<Completion> shared = RunTogether(*engine, {SharedBeginning(id, {13, 14, 15})});
    ExpectSame(shared, expected_shared, id);
    EXPECT_EQ(shared[0].usage.cached_tokens, cached_tokens) << id;
  }
  const std::vector<Completion> failed = RunTogether(
      *engine, {SharedBeginning("poisoned", {kPoison, 13, 14, 15, 16}), SharedBeginning("beside", {13, 14})});
  EXPECT_EQ(failed[0].finish, FinishReason::kError);
  EXPECT_EQ(failed[1].finish, FinishReason::kLength);
  EXPECT_EQ(engine->Stats().kv_pages_used, 0);
  EXPECT_TRUE(engine->Health().ok());
  std::filesystem::remove_all(config.model_dir);
}

}  // namespace switchyard
