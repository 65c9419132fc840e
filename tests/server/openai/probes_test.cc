// Probes, models, tokens, keys and metrics.
#include "server/access/key_file.h"
#include "server/metrics_exporter.h"
#include "server/version.h"
#include "tests/server/openai/api_fixture.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

class Probes : public ApiTest {};

TEST_F(Probes, AreAnsweredWhileTheModelLoads) {
  Listen();
  slot_.SetProgress({.phase = "load", .bytes_read = 25, .bytes_total = 100});
  EXPECT_EQ(Get("/health").status, 200);
  EXPECT_EQ(Get("/metrics").status, 200);
  EXPECT_EQ(Get("/v1/models").status, 200);
  const HttpReply ready = Get("/ready");
  EXPECT_EQ(ready.status, 503);
  const json progress = json::parse(ready.body);
  EXPECT_EQ(progress["status"], "loading");
  EXPECT_EQ(progress["phase"], "load");
  EXPECT_EQ(progress["bytes_total"], 100);
  EXPECT_EQ(progress["progress"], 0.25);
  const HttpReply refused = Post("/v1/completions", {{"prompt", "Hi"}});
  ErrorOf(refused, 503);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
}

TEST_F(Probes, FollowTheEnginesLife) {
  Serve();
  EXPECT_EQ(Get("/ready").status, 200);
  engine_->SetHealth(absl::UnavailableError("rank 1 is lost"));
  EXPECT_EQ(Get("/health").status, 503);
  EXPECT_NE(Get("/ready").body.find("rank 1 is lost"), std::string::npos);
  engine_->SetHealth(absl::OkStatus());
  slot_.BeginDrain();
  EXPECT_EQ(Get("/health").status, 200);
  EXPECT_EQ(json::parse(Get("/ready").body)["status"], "draining");
  ErrorOf(Post("/v1/chat/completions", {{"messages", json::array()}}), 503);
  slot_.Fail(absl::InternalError("out of memory"));
  EXPECT_EQ(Get("/health").status, 503);
  EXPECT_EQ(json::parse(Get("/ready").body)["status"], "failed");
}

TEST_F(Probes, TellTheVersionAndTheModels) {
  Serve();
  EXPECT_EQ(json::parse(Get("/version").body)["version"], kServerVersion);
  const json list = json::parse(Get("/v1/models").body);
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["data"][0]["id"], "fake");
  EXPECT_EQ(list["data"][0]["object"], "model");
  EXPECT_EQ(list["data"][0]["max_model_len"], 256);
  EXPECT_EQ(json::parse(Get("/v1/models/fake").body)["id"], "fake");
  EXPECT_EQ(json::parse(Get("/v1/models/f%61ke").body)["id"], "fake");
  EXPECT_EQ(ErrorOf(Get("/v1/models/org/other"), 404)["code"], "model_not_found");
}

TEST_F(Probes, EncodeAndDecodeText) {
  Serve();
  const json encoded = Ask("/tokenize", {{"prompt", "Hi</s>"}, {"return_token_strs", true}});
  EXPECT_EQ(encoded["tokens"], json({1, 75, 108, 2}));
  EXPECT_EQ(encoded["count"], 4);
  EXPECT_EQ(encoded["max_model_len"], 256);
  EXPECT_EQ(encoded["token_strs"], json({"<s>", "H", "i", "</s>"}));
  EXPECT_EQ(Ask("/tokenize", {{"prompt", "Hi"}, {"add_special_tokens", false}})["count"], 2);
  EXPECT_EQ(Ask("/tokenize", {{"messages", {{{"role", "user"}, {"content", "x"}}}}})["count"], 9);
  EXPECT_EQ(Ask("/detokenize", {{"tokens", {1, 75, 108}}})["prompt"], "<s>Hi");
  EXPECT_EQ(ErrorOf(Post("/detokenize", {{"tokens", {1, 259}}}), 400)["param"], "tokens[1]");
  EXPECT_EQ(json::parse(Get("/tokenizer_info").body)["bos_token"], "<s>");
}

TEST_F(Probes, NeedAKeyWhereThereIsOneExceptForHealth) {
  edge_ = std::make_unique<Edge>(*ParseKeys("first-key\nsecond-key", "keys", {}));
  Serve();
  HttpClient client(server_->port());
  EXPECT_EQ(client.Get("/health").status, 200);
  for (const char* path : {"/ready", "/metrics", "/v1/models", "/nowhere"}) {
    const HttpReply reply = client.Get(path);
    EXPECT_EQ(ErrorOf(reply, 401)["code"], "invalid_api_key");
    EXPECT_EQ(reply.headers.at("www-authenticate"), "Bearer");
  }
  EXPECT_EQ(client.Get("/ready", "Authorization: Bearer wrong\r\n").status, 401);
  EXPECT_EQ(client.Get("/ready", "Authorization: Bearer first-ke\r\n").status, 401);
  EXPECT_EQ(client.Get("/ready", "Authorization: Basic first-key\r\n").status, 401);
  EXPECT_EQ(client.Get("/ready", "Authorization: Bearer first-key\r\n").status, 200);
  EXPECT_EQ(client.Get("/ready", "authorization: bearer second-key\r\n").status, 200);
}

TEST_F(Probes, SayThatTheProcessLivesWhileLostRanksAreBuiltAnew) {
  Serve();
  engine_->SetHealth(absl::UnavailableError("the ranks are being built anew, restart 1 of 3 after: rank 1 is lost"));
  engine_->SetRecovers(true);
  EXPECT_EQ(Get("/health").status, 200);
  const HttpReply ready = Get("/ready");
  EXPECT_EQ(ready.status, 503);
  EXPECT_EQ(json::parse(ready.body)["status"], "recovering");
  EXPECT_NE(ready.body.find("rank 1 is lost"), std::string::npos) << ready.body;
  engine_->SetRecovers(false);
  EXPECT_EQ(Get("/health").status, 503);
  EXPECT_EQ(json::parse(Get("/ready").body)["status"], "failed");
  engine_->SetHealth(absl::OkStatus());
}

TEST_F(Probes, ShowWhereTokensWereRouted) {
  Serve();
  EngineStats stats;
  stats.expert_tokens = {{4, 4, 0, 0}, {8, 0, 0, 0}};
  stats.rank_load_max_over_mean = {2, 2};
  stats.straggler_wait_seconds = {0, 1.5};
  engine_->SetStats(stats);
  const json body = json::parse(Get("/v1/experts").body);
  EXPECT_EQ(body["model"], "fake");
  EXPECT_EQ(body["num_experts"], 8);
  EXPECT_EQ(body["dead_experts"], 5);
  EXPECT_EQ(body["straggler_wait_seconds"], json({0, 1.5}));
  EXPECT_EQ(body["layers"][0]["expert_tokens"], json({4, 4, 0, 0}));
  EXPECT_EQ(body["layers"][0]["routing_entropy"], 1);
  EXPECT_EQ(body["layers"][1]["routing_entropy"], 0);
  EXPECT_EQ(body["layers"][1]["dead_experts"], 3);
}

TEST_F(Probes, WriteMetricsUnderBothPrefixes) {
  ApiConfig config;
  config.metrics = {.prefixes = {"switchyard", "vllm"}, .per_expert = true};
  Serve({}, config);
  EngineStats stats;
  stats.num_requests_running = 3;
  stats.kv_pages_total = 40;
  stats.kv_pages_used = 10;
  stats.requests_stop = 7;
  stats.time_to_first_token = Histogram({0.1, 1.0});
  stats.expert_tokens = {{4, 4, 0, 0}};
  stats.rank_load_max_over_mean = {1.5};
  stats.exchange_bytes = {11, 22, 33};
  stats.num_tokens_waiting = 99;
  stats.requests_rejected = {1, 2, 3};
  stats.straggler_wait_seconds = {0, 1.5};
  stats.num_rank_restarts = 6;
  stats.prefix_cache_queries = 70;
  stats.prefix_cache_hits = 48;
  stats.offload = {.num_needed = 40,
                   .num_hits = 30,
                   .num_prefetched = 6,
                   .num_prefetch_hits = 5,
                   .bytes_copied = 1600,
                   .stall_seconds = 0.5};
  engine_->SetStats(stats);
  const HttpReply reply = Get("/metrics");
  EXPECT_EQ(reply.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  for (const std::string prefix : {"switchyard:", "vllm:"}) {
    for (const std::string line : {
             "num_requests_running{model_name=\"fake\"} 3\n",
             "num_tokens_waiting{model_name=\"fake\"} 99\n",
             "requests_rejected_total{model_name=\"fake\",reason=\"queued_requests\"} 1\n",
             "requests_rejected_total{model_name=\"fake\",reason=\"queue_time\"} 3\n",
             "moe_straggler_wait_seconds{model_name=\"fake\",rank=\"1\"} 1.5\n",
             "rank_restarts_total{model_name=\"fake\"} 6\n",
             "prefix_cache_queries_total{model_name=\"fake\"} 70\n",
             "prefix_cache_hits_total{model_name=\"fake\"} 48\n",
             "kv_cache_usage_perc{model_name=\"fake\"} 0.25\n",
             "request_success_total{model_name=\"fake\",finished_reason=\"stop\"} 7\n",
             "time_to_first_token_seconds_bucket{model_name=\"fake\",le=\"+Inf\"} 0\n",
             "moe_dead_experts{model_name=\"fake\"} 2\n",
             "moe_routing_entropy{model_name=\"fake\",layer=\"0\"} 1\n",
             "moe_rank_load_max_over_mean{model_name=\"fake\",layer=\"0\"} 1.5\n",
             "moe_expert_tokens_total{model_name=\"fake\",layer=\"0\",expert=\"1\"} 4\n",
             "exchange_bytes_total{model_name=\"fake\",strategy=\"all_gather\"} 22\n",
             "moe_offload_experts_needed_total{model_name=\"fake\"} 40\n",
             "moe_offload_hits_total{model_name=\"fake\"} 30\n",
             "moe_offload_hit_rate{model_name=\"fake\"} 0.75\n",
             "moe_offload_prefetched_total{model_name=\"fake\"} 6\n",
             "moe_offload_prefetch_hits_total{model_name=\"fake\"} 5\n",
             "moe_offload_copied_bytes_total{model_name=\"fake\"} 1600\n",
             "moe_offload_stall_seconds_total{model_name=\"fake\"} 0.5\n",
         }) {
      EXPECT_NE(reply.body.find("\n" + prefix + line), std::string::npos) << prefix + line << reply.body;
    }
    EXPECT_NE(reply.body.find("# TYPE " + prefix + "prompt_tokens_total counter\n"), std::string::npos);
  }
}

}  // namespace
}  // namespace switchyard::openai
