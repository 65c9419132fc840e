#include "server/settings/command_line.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace switchyard {
namespace {

class CommandLineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / ("switchyard-settings-" + std::to_string(getpid()));
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = directory_ / name;
    std::ofstream(path) << text;
    return path;
  }

  // Words are divided at spaces.
  absl::StatusOr<CommandLine> Parse(const std::string& line) {
    return ParseCommandLine(
        absl::StrSplit(line, ' ', absl::SkipEmpty()), [this](const std::string& name) -> std::optional<std::string> {
          const auto found = environment_.find(name);
          return found == environment_.end() ? std::nullopt : std::optional<std::string>(found->second);
        });
  }
  Settings ParseOk(const std::string& line) {
    const absl::StatusOr<CommandLine> result = Parse(line);
    EXPECT_TRUE(result.ok()) << line << ": " << result.status();
    return result.ok() && result->settings.has_value() ? *result->settings : Settings();
  }
  // The error must have each part of `parts`, divided at |.
  void ExpectRefused(const std::string& line, const std::string& parts) {
    const absl::Status status = Parse(line).status();
    ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << line;
    for (const absl::string_view part : absl::StrSplit(parts, '|')) {
      EXPECT_TRUE(absl::StrContains(status.message(), part)) << line << ": " << status.message() << " lacks " << part;
    }
  }

  std::filesystem::path directory_;
  std::map<std::string, std::string> environment_;
};

TEST_F(CommandLineTest, HasTheDocumentedDefaults) {
  const Settings settings = ParseOk("serve --model models/tiny/");
  EXPECT_EQ(settings.command, Command::kServe);
  EXPECT_EQ(settings.serve.served_model_name, "tiny");
  EXPECT_EQ(settings.serve.http, (Endpoint{"127.0.0.1", 8000}));
  EXPECT_EQ(settings.serve.grpc, (Endpoint{"127.0.0.1", 50051}));
  EXPECT_EQ(settings.engine.num_local_ranks, 1);
  EXPECT_EQ(settings.engine.device, DeviceKind::kCpu);
  EXPECT_FALSE(settings.engine.exchange.has_value());
  EXPECT_FALSE(settings.check);
}

TEST_F(CommandLineTest, ReadsEveryKindOfValue) {
  const Settings settings = ParseOk(
      "serve --model m --ranks 3 --attention tensor-parallel --exchange all_gather --kv-cache 2GiB --http [::1]:0 "
      "--drain-timeout 1m30s --kernels reference --activations bfloat16 --metrics-alias vllm --log-format json "
      "--api-key a --api-key b "
      "--max-model-len 128 --check");
  EXPECT_EQ(settings.engine.num_local_ranks, 3);
  EXPECT_EQ(settings.engine.attention, AttentionParallelism::kTensorParallel);
  EXPECT_EQ(settings.engine.exchange, ExchangeStrategy::kAllGather);
  EXPECT_EQ(settings.engine.kv_cache_bytes, int64_t{2} << 30);
  EXPECT_EQ(settings.serve.http, (Endpoint{"::1", 0}));
  EXPECT_EQ(settings.serve.drain_timeout, absl::Seconds(90));
  EXPECT_TRUE(settings.engine.reference_kernels);
  EXPECT_EQ(settings.engine.activations, CpuActivations::kBFloat16);
  EXPECT_TRUE(settings.serve.metrics_alias_vllm);
  EXPECT_EQ(settings.log.format, LogFormat::kJson);
  EXPECT_EQ(settings.serve.api_keys, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(settings.engine.max_model_len, 128);
  EXPECT_TRUE(settings.check);
}

TEST_F(CommandLineTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const std::string file = Write("a.toml", "model = \"file\"\nranks = 2\npage-size = 32\nmax-batch-tokens = 64\n");
  environment_ = {{"SWITCHYARD_RANKS", "3"}, {"SWITCHYARD_PAGE_SIZE", "8"}};
  const Settings settings = ParseOk("serve --ranks 4 --config " + file);
  EXPECT_EQ(settings.engine.num_local_ranks, 4);    // flag
  EXPECT_EQ(settings.engine.page_size, 8);          // environment
  EXPECT_EQ(settings.engine.max_batch_tokens, 64);  // file
  EXPECT_EQ(settings.engine.model_dir, "file");     // file
  EXPECT_EQ(settings.engine.max_queued_requests, EngineConfig().max_queued_requests);
}

TEST_F(CommandLineTest, OffloadsExpertsToTheTemporaryDirectoryUnlessAnotherIsNamed) {
  EXPECT_FALSE(ParseOk("serve --model m").engine.expert_places.has_value());
  EXPECT_FALSE(ParseOk("serve --model m --offload-experts none").engine.expert_places.has_value());
  EXPECT_EQ(ParseOk("serve --model m --offload-experts 3").engine.expert_places, 3);
  const EngineConfig automatic = ParseOk("serve --model m --offload-experts auto").engine;
  EXPECT_EQ(automatic.expert_places, kAutoExpertPlaces);
  EXPECT_EQ(automatic.offload_dir, std::filesystem::temp_directory_path().string());
  EXPECT_EQ(ParseOk("serve --model m --offload-experts 3 --offload-dir /x").engine.offload_dir, "/x");
}

TEST_F(CommandLineTest, AnEmptyVariableCountsAsUnset) {
  environment_ = {{"SWITCHYARD_API_KEY", ""}, {"SWITCHYARD_RANKS", ""}};
  const Settings settings = ParseOk("serve --model m");
  EXPECT_TRUE(settings.serve.api_keys.empty());
  EXPECT_EQ(settings.engine.num_local_ranks, 1);
}

TEST_F(CommandLineTest, AFileServesAllCommandsWithSectionsForOne) {
  const std::string file =
      Write("b.toml",
            "# all\nmodel = \"m\"\nranks = 2\n\n[generate]\nranks = 1\nprompt = \"a, b\"\n[serve]\nhttp = \":1\"\n"
            "allow-unauthenticated = true\n");
  environment_ = {{"SWITCHYARD_CONFIG", file}};
  EXPECT_EQ(ParseOk("serve").engine.num_local_ranks, 2);
  EXPECT_EQ(ParseOk("serve").serve.http.port, 1);
  EXPECT_EQ(ParseOk("generate").engine.num_local_ranks, 1);
  EXPECT_EQ(ParseOk("generate").generate.prompt, "a, b");
}

TEST_F(CommandLineTest, PrintedConfigurationReadsBackAsTheSame) {
  const std::string line =
      "serve --model m --ranks 3 --kv-cache 3MiB --exchange all_reduce --collective-timeout 2s --grpc [::1]:7 "
      "--grpc-reflection --api-key topsecret --log-level debug";
  const absl::StatusOr<CommandLine> printed = Parse(line + " --print-config");
  ASSERT_TRUE(printed.ok()) << printed.status();
  ASSERT_FALSE(printed->settings.has_value());
  EXPECT_FALSE(absl::StrContains(printed->output, "topsecret"));
  // All but the key, which is not in the file.
  const absl::StatusOr<CommandLine> again =
      Parse("serve --api-key other --config " + Write("c.toml", printed->output) + " --print-config");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->output, printed->output);
  const Settings settings = ParseOk("serve --config " + Write("c.toml", printed->output));
  EXPECT_EQ(settings.engine.num_local_ranks, 3);
  EXPECT_EQ(settings.engine.kv_cache_bytes, 3 << 20);
  EXPECT_EQ(settings.engine.exchange, ExchangeStrategy::kAllReduce);
  EXPECT_EQ(settings.engine.collective_timeout, absl::Seconds(2));
  EXPECT_EQ(settings.serve.grpc, (Endpoint{"::1", 7}));
  EXPECT_TRUE(settings.serve.grpc_reflection);
  EXPECT_EQ(settings.log.level, "debug");
}

TEST_F(CommandLineTest, RepeatedTextsSurviveTheFile) {
  const std::string line = "generate --model m --prompt x --stop a,b --stop c";
  EXPECT_EQ(ParseOk(line).generate.stop, (std::vector<std::string>{"a,b", "c"}));
  const absl::StatusOr<CommandLine> printed = Parse(line + " --print-config");
  ASSERT_TRUE(printed.ok());
  EXPECT_EQ(ParseOk("generate --config " + Write("d.toml", printed->output)).generate.stop,
            (std::vector<std::string>{"a,b", "c"}));
}

TEST_F(CommandLineTest, ErrorsNameFlagValueLimitAndRemedy) {
  ExpectRefused("serve --model m --ranks 0", "--ranks|\"0\"|1 to 1024");
  ExpectRefused("serve --model m --max-model-len -1", "--max-model-len|\"-1\"|0 takes the model's own");
  ExpectRefused("serve --model m --kv-cache lots", "--kv-cache|\"lots\"|4GiB");
  ExpectRefused("serve --model m --exchange magic", "--exchange|\"magic\"|all_to_all");
  ExpectRefused("serve --model m --http 8000", "--http|\"8000\"|HOST:PORT");
  ExpectRefused("serve --model m --drain-timeout soon", "--drain-timeout|\"soon\"|30s");
  ExpectRefused("serve --model m --gpus 0,1", "--gpus|--device cuda|--ranks");
  ExpectRefused("serve --model m --device cuda --gpus 0,x", "--gpus|\"x\"");
  ExpectRefused("serve --model m --device cuda --gpus 16GiB", "--gpus|16GiB|switchyard plan");
  ExpectRefused("serve --model m --dtype float16", "--dtype|--device cuda|--activations");
  ExpectRefused("serve --model m --device cuda --dtype float32", "--dtype|\"float32\"|bfloat16");
  ExpectRefused("serve --model m --load-format fast", "--load-format|\"fast\"|dummy");
  ExpectRefused("serve --model m --gpu-reserve much", "--gpu-reserve|\"much\"|4GiB");
  ExpectRefused("serve --model m --offload-experts 0", "--offload-experts|\"0\"|1 or more|auto");
  ExpectRefused("serve --model m --offload-experts some", "--offload-experts|\"some\"|auto");
  ExpectRefused("serve --model m --device cuda --gpus 0 --offload-dir /x", "--offload-dir /x|--device cpu");
  ExpectRefused("plan --gpus 16GiB", "--model is missing|config.json");
  ExpectRefused("plan --model m --device cpu --gpus 16GiB", "--gpus|--device cuda|--ranks");
  ExpectRefused("plan --model m --gpus 16GiB,24", "--gpus|\"24\"|unit");
  ExpectRefused("plan --model m --gpus 16GiB,many", "--gpus|\"many\"");
  ExpectRefused("serve --model m --device cuda --ranks 2", "--ranks|--gpus");
  ExpectRefused("serve", "--model is missing");
  ExpectRefused("serve --model m --no-such-flag 1", "--no-such-flag");
  ExpectRefused("", "a command is missing|generate");
  ExpectRefused("severe --model m", "\"severe\"|serve");
  ExpectRefused("generate --model m", "--prompt");
  ExpectRefused("generate --model m --prompt a --prompt-tokens 1", "--prompt-tokens|exclude");
  ExpectRefused("generate --model m --prompt-tokens 1,x", "--prompt-tokens|\"x\"");
  ExpectRefused("generate --model m --prompt a --temperature nan", "--temperature|\"nan\"|0 to 2");
  ExpectRefused("generate --model m --prompt a --top-p 0", "--top-p|\"0\"|above 0");
  ExpectRefused("score --model m", "--input");
}

TEST_F(CommandLineTest, ErrorsNameTheVariableOrTheFile) {
  environment_ = {{"SWITCHYARD_PAGE_SIZE", "big"}};
  ExpectRefused("serve --model m", "SWITCHYARD_PAGE_SIZE|\"big\"");
  environment_.clear();
  const std::string path = Write("e.toml", "page-size = big\n");
  ExpectRefused("serve --model m --config " + path, path + "|page-size|\"big\"");
  ExpectRefused("serve --model m --config " + Write("f.toml", "modle = x\n"), "modle|no flag");
  ExpectRefused("serve --model m --config /no/such/file", "/no/such/file|cannot be read");
  ExpectRefused("serve --config " + Write("g.toml", "model = \"a # b\"\n"), "model|#");
}

TEST_F(CommandLineTest, RefusesToListenBeyondThisHostWithoutKeys) {
  ExpectRefused("serve --model m --http 0.0.0.0:8000", "--http|0.0.0.0:8000|--api-key-file|--allow-unauthenticated");
  ExpectRefused("serve --model m --grpc [::]:1", "--grpc|[::]:1");
  ParseOk("serve --model m --http 0.0.0.0:8000 --allow-unauthenticated");
  const Settings settings =
      ParseOk("serve --model m --http 0.0.0.0:8000 --api-key-file " + Write("keys", "# ours\n k1 \n\nk2\n"));
  EXPECT_TRUE(NeedsKey(settings.serve));
  ExpectRefused("serve --model m --api-key-file " + Write("none", "# none\n"), "--api-key-file|holds no key");
}

TEST_F(CommandLineTest, ReadsWhatGuardsTheEdge) {
  const std::string keys = Write("keys", "# ours\nteam:abc\n");
  const Settings settings =
      ParseOk("serve --model m --http unix:/run/http.sock --grpc 0.0.0.0:1 --api-key-file " + keys +
              " --key-max-concurrent 3 --key-tokens-per-minute 1000 --tls-cert c.pem --tls-key k.pem "
              "--grpc-tls-client-ca ca.pem --cors-origin https://a.example:8443 --cors-origin http://b "
              "--http-max-body-size 2MiB --http-max-headers 10 --http-idle-timeout 5s --grpc-max-message-size 1MiB "
              "--grpc-keepalive-time 7s --access-log - --otlp-endpoint http://collector:4318/x");
  EXPECT_EQ(settings.serve.http.unix_path, "/run/http.sock");
  EXPECT_EQ(settings.serve.api_key_file, keys);
  EXPECT_TRUE(NeedsKey(settings.serve));
  EXPECT_EQ(settings.serve.key_limits, (KeyLimits{.max_concurrent = 3, .tokens_per_minute = 1000}));
  EXPECT_EQ(settings.serve.tls_key, "k.pem");
  EXPECT_EQ(settings.serve.grpc_tls_client_ca, "ca.pem");
  EXPECT_EQ(settings.serve.cors_origins, (std::vector<std::string>{"https://a.example:8443", "http://b"}));
  EXPECT_EQ(settings.serve.http_limits.max_body_bytes, 2 << 20);
  EXPECT_EQ(settings.serve.http_limits.max_headers, 10);
  EXPECT_EQ(settings.serve.http_limits.idle_timeout, absl::Seconds(5));
  EXPECT_EQ(settings.serve.grpc_limits.max_message_bytes, 1 << 20);
  EXPECT_EQ(settings.serve.grpc_limits.keepalive_time, absl::Seconds(7));
  EXPECT_EQ(settings.serve.access_log, "-");
  EXPECT_EQ(settings.serve.otlp_endpoint->endpoint, (Endpoint{"collector", 4318}));
}

TEST_F(CommandLineTest, RefusesAnEdgeThatWouldNotHold) {
  ExpectRefused("serve --model m --http unix:relative", "--http|unix:/PATH|107");
  ExpectRefused("serve --model m --api-key-file " + Write("bad", "a b\n"), "--api-key-file|bad, line 1");
  ExpectRefused("serve --model m --key-max-concurrent 1", "--key-max-concurrent|--api-key-file");
  ExpectRefused("serve --model m --tls-cert c.pem", "--tls-cert|--tls-key");
  ExpectRefused("serve --model m --tls-key k.pem", "--tls-key|--tls-cert");
  ExpectRefused("serve --model m --grpc-tls-client-ca ca.pem", "--grpc-tls-client-ca|--tls-cert");
  for (const char* origin : {"example.org", "https://a/", "HTTPS://a", "https://*", "://a"}) {
    ExpectRefused(std::string("serve --model m --cors-origin ") + origin, "--cors-origin|https://app.example.org:8443");
  }
  ExpectRefused("serve --model m --otlp-endpoint https://a:4318", "--otlp-endpoint|https|http://127.0.0.1:4318");
  ExpectRefused("serve --model m --http-max-body-size 1", "--http-max-body-size|\"1\"|1KiB|1GiB");
  ExpectRefused("serve --model m --http-idle-timeout 0", "--http-idle-timeout|100ms");
  ExpectRefused("serve --model m --grpc 0.0.0.0:1 --http 0.0.0.0:2 --tls-cert c --tls-key k --grpc-tls-client-ca a",
                "--http|--allow-unauthenticated");
  EXPECT_TRUE(Parse("serve --model m --grpc 0.0.0.0:1 --tls-cert c --tls-key k --grpc-tls-client-ca a").ok());
}

TEST_F(CommandLineTest, ALaunchersProcessesBringOneRankEachAndShareTheCpus) {
  environment_ = {{"WORLD_SIZE", "2"}, {"RANK", "1"}, {"LOCAL_WORLD_SIZE", "2"}, {"LOCAL_RANK", "1"}};
  const Settings settings = ParseOk("serve --model m");
  EXPECT_EQ(settings.engine.launch.num_processes, 2);
  EXPECT_EQ(settings.engine.launch.process_idx, 1);
  EXPECT_EQ(settings.engine.num_local_ranks, 1);
  EXPECT_GE(settings.engine.num_threads, 1);
  EXPECT_EQ(ParseOk("serve --model m --threads 5").engine.num_threads, 5);
  EXPECT_EQ(ParseOk("serve --model m --device cuda").engine.gpus, (std::vector<int>{1}));
}

TEST_F(CommandLineTest, ReadsWhatConcernsGpus) {
  const Settings defaults = ParseOk("serve --model m --device cuda");
  EXPECT_TRUE(defaults.engine.cuda_graphs);
  EXPECT_FALSE(defaults.engine.dtype.has_value());
  EXPECT_FALSE(defaults.engine.staged_collectives);
  EXPECT_EQ(defaults.engine.load_format, LoadFormat::kAuto);
  EXPECT_EQ(defaults.engine.gpu_reserve_bytes, int64_t{512} << 20);
  const Settings settings = ParseOk(
      "serve --model m --device cuda --gpus 0,0,1 --dtype float16 --no-cuda-graphs --collectives staged --load-format "
      "dummy --load-threads 3 --gpu-reserve 1GiB");
  EXPECT_EQ(settings.engine.gpus, (std::vector<int>{0, 0, 1}));  // ranks may share a GPU
  EXPECT_EQ(settings.engine.num_local_ranks, 3);
  EXPECT_EQ(settings.engine.dtype, DType::kFloat16);
  EXPECT_FALSE(settings.engine.cuda_graphs);
  EXPECT_TRUE(settings.engine.staged_collectives);
  EXPECT_EQ(settings.engine.load_format, LoadFormat::kDummy);
  EXPECT_EQ(settings.engine.load_threads, 3);
  EXPECT_EQ(settings.engine.gpu_reserve_bytes, int64_t{1} << 30);
}

TEST_F(CommandLineTest, PlanTakesGpusOrTheirSizes) {
  const Settings gpus = ParseOk("plan --model m --gpus 1,0 --json");
  EXPECT_EQ(gpus.command, Command::kPlan);
  EXPECT_EQ(gpus.engine.device, DeviceKind::kCuda);
  EXPECT_EQ(gpus.engine.gpus, (std::vector<int>{1, 0}));
  EXPECT_TRUE(gpus.plan.json);
  const Settings sizes = ParseOk("plan --model m --gpus 16GiB,24GB");
  EXPECT_TRUE(sizes.engine.gpus.empty());
  EXPECT_EQ(sizes.engine.gpu_memory_bytes, (std::vector<int64_t>{int64_t{16} << 30, 24'000'000'000}));
  EXPECT_EQ(sizes.engine.num_local_ranks, 2);
  EXPECT_FALSE(sizes.plan.json);
}

TEST_F(CommandLineTest, PlanTakesRanksOnTheCpuAndChoosesFlagsOnDemand) {
  const Settings cpu = ParseOk("plan --model m --device cpu --ranks 2 --fit");
  EXPECT_EQ(cpu.engine.device, DeviceKind::kCpu);
  EXPECT_EQ(cpu.engine.num_local_ranks, 2);
  EXPECT_TRUE(cpu.plan.fit);
  EXPECT_FALSE(ParseOk("plan --model m --gpus 16GiB").plan.fit);
}

TEST_F(CommandLineTest, QuantizeTakesAFormatForExpertsAndAttention) {
  const Settings settings = ParseOk("quantize --model m --out n --format int4-g64 --max-shard-size 2GB --threads 3");
  EXPECT_EQ(settings.command, Command::kQuantize);
  EXPECT_EQ(settings.engine.model_dir, "m");
  EXPECT_EQ(settings.quantize.out_dir, "n");
  EXPECT_EQ(settings.quantize.max_shard_bytes, 2'000'000'000);
  EXPECT_EQ(settings.engine.num_threads, 3);
  EXPECT_EQ(Name(settings.engine.quantize.experts), "int4-g64");
  EXPECT_EQ(Name(settings.engine.quantize.attention), "int4-g64");
  EXPECT_EQ(Name(settings.engine.quantize.embeddings), "none");
  const Settings experts = ParseOk("quantize --model m --out n --format nf4 --quantize-attention none");
  EXPECT_TRUE(experts.engine.quantize.attention.is_dense());
  EXPECT_GE(experts.engine.num_threads, 1);
  EXPECT_EQ(experts.quantize.max_shard_bytes, 5'000'000'000);
  ExpectRefused("quantize --out n --format nf4", "--model is missing");
  ExpectRefused("quantize --model m --format nf4", "--out is missing");
  ExpectRefused("quantize --model m --out n", "--format is missing|nf4");
  ExpectRefused("quantize --model m --out n --format fp4", "--format|\"fp4\"|nf4");
  ExpectRefused("quantize --model m --out n --format nf4 --max-shard-size 0", "--max-shard-size|5GB");
  ExpectRefused("quantize --model m --out n --format nf4 --ranks 2", "--ranks");
}

TEST_F(CommandLineTest, DoctorTakesAllGpusUnlessSomeAreNamed) {
  const Settings all = ParseOk("doctor");
  EXPECT_EQ(all.command, Command::kDoctor);
  EXPECT_EQ(all.engine.device, DeviceKind::kCuda);
  EXPECT_TRUE(all.engine.gpus.empty());
  EXPECT_FALSE(all.doctor.json);
  EXPECT_FALSE(all.engine.staged_collectives);
  const Settings some =
      ParseOk("doctor --gpus 1,1 --collectives staged --collective-timeout 5s --json --log-level warn");
  EXPECT_EQ(some.engine.gpus, (std::vector<int>{1, 1}));
  EXPECT_TRUE(some.engine.staged_collectives);
  EXPECT_EQ(some.engine.collective_timeout, absl::Seconds(5));
  EXPECT_TRUE(some.doctor.json);
  EXPECT_EQ(some.log.level, "warn");
  ExpectRefused("doctor --gpus 16GiB", "--gpus|16GiB");
  ExpectRefused("doctor --model m", "--model");
  ExpectRefused("doctor --check", "--check");
  environment_ = {{"WORLD_SIZE", "2"},       {"RANK", "1"},       {"MASTER_ADDR", "127.0.0.1"},
                  {"LOCAL_WORLD_SIZE", "2"}, {"LOCAL_RANK", "1"}, {"MASTER_PORT", "29500"}};
  EXPECT_TRUE(ParseOk("doctor").engine.gpus.empty());
}

TEST_F(CommandLineTest, ASwitchThatTurnsOffSurvivesTheFile) {
  for (const std::string line :
       {"serve --model m --device cuda --no-cuda-graphs --dtype bfloat16", "serve --model m --device cuda"}) {
    const absl::StatusOr<CommandLine> printed = Parse(line + " --print-config");
    ASSERT_TRUE(printed.ok()) << printed.status();
    const Settings again = ParseOk("serve --config " + Write("n.toml", printed->output));
    EXPECT_EQ(again.engine.cuda_graphs, ParseOk(line).engine.cuda_graphs) << line;
    EXPECT_EQ(again.engine.dtype, ParseOk(line).engine.dtype) << line;
  }
  environment_ = {{"SWITCHYARD_NO_CUDA_GRAPHS", "false"}};
  EXPECT_TRUE(ParseOk("serve --model m").engine.cuda_graphs);
}

TEST_F(CommandLineTest, ASwitchThatIsOnByDefaultHasAnOpposite) {
  EXPECT_TRUE(ParseOk("serve --model m").engine.prefix_caching);
  EXPECT_TRUE(ParseOk("serve --model m --prefix-caching").engine.prefix_caching);
  EXPECT_FALSE(ParseOk("serve --model m --no-prefix-caching").engine.prefix_caching);
  EXPECT_FALSE(ParseOk("serve --model m --prefix-caching=false").engine.prefix_caching);
  const absl::StatusOr<CommandLine> printed = Parse("serve --model m --no-prefix-caching --print-config");
  ASSERT_TRUE(printed.ok()) << printed.status();
  const std::string file = Write("p.toml", printed->output);
  EXPECT_FALSE(ParseOk("serve --config " + file).engine.prefix_caching);
  EXPECT_TRUE(ParseOk("serve --prefix-caching --config " + file).engine.prefix_caching);
  environment_ = {{"SWITCHYARD_PREFIX_CACHING", "false"}};
  EXPECT_FALSE(ParseOk("serve --model m").engine.prefix_caching);
  EXPECT_TRUE(absl::StrContains(Parse("serve --help")->output, "--no-prefix-caching"));
}

TEST_F(CommandLineTest, HelpNamesGroupsDefaultsAndVersion) {
  const absl::StatusOr<CommandLine> help = Parse("serve --help");
  ASSERT_TRUE(help.ok()) << help.status();
  for (const char* part : {"Front ends", "Memory and batching", "127.0.0.1:8000", "--max-batch-tokens", "2048",
                           "SWITCHYARD_", "Exit codes"}) {
    EXPECT_TRUE(absl::StrContains(help->output, part)) << part;
  }
  EXPECT_TRUE(absl::StrContains(Parse("--version")->output, "switchyard "));
  EXPECT_TRUE(absl::StrContains(Parse("--help")->output, "score"));
  EXPECT_TRUE(absl::StrContains(Parse("--help")->output, "quantize"));
  for (const char* part : {"--format", "--out", "--max-shard-size", "5GB", "--quantize-attention", "--threads"}) {
    EXPECT_TRUE(absl::StrContains(Parse("quantize --help")->output, part)) << part;
  }
}

}  // namespace
}  // namespace switchyard
