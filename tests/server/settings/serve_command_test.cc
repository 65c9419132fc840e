#include "server/settings/serve_command.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "absl/strings/str_split.h"
#include "server/settings/command_line.h"

namespace switchyard {
namespace {

EngineConfig Parsed(const std::string& line) {
  const auto result = ParseCommandLine(absl::StrSplit(line, ' ', absl::SkipEmpty()),
                                       [](const std::string&) { return std::optional<std::string>(); });
  EXPECT_TRUE(result.ok()) << line << ": " << result.status();
  return result.ok() && result->settings.has_value() ? result->settings->engine : EngineConfig();
}

TEST(ServeCommandOf, SaysWhatDiffersFromTheDefaults) {
  EXPECT_EQ(ServeCommandOf(Parsed("serve --model m")), "switchyard serve --model m");
  EXPECT_EQ(ServeCommandOf(Parsed("plan --model m --gpus 16GiB,24GiB --max-model-len 4096")),
            "switchyard serve --model m --max-model-len 4096 --device cuda --gpus 0,1");
}

TEST(ServeCommandOf, IsReadBackAsTheSameEngine) {
  for (const char* line :
       {"serve --model m --ranks 2 --activations int8 --threads 3",
        "serve --model m --device cuda --gpus 0,0 --quantize nf4 --kv-dtype fp8 --attention tensor-parallel",
        "serve --model m --device cuda --gpus 1,0 --quantize int4-g64 --quantize-attention none --no-cuda-graphs",
        "serve --model m --device cuda --gpus 0 --offload-experts auto --kv-cache 2GiB",
        "serve --model m --offload-experts 3 --offload-dir /var/tmp", "serve --model m --no-prefix-caching --ranks 2",
        "serve --model m --device cuda --gpus 0 --quantize-embeddings int8 --exchange all_reduce --kv-cache 1GiB"}) {
    const EngineConfig engine = Parsed(line);
    const std::string command = ServeCommandOf(engine);
    const EngineConfig again = Parsed(command.substr(std::string("switchyard ").size()));
    EXPECT_EQ(ServeCommandOf(again), command);
    EXPECT_EQ(again.num_local_ranks, engine.num_local_ranks) << command;
    EXPECT_EQ(again.gpus, engine.gpus) << command;
    EXPECT_EQ(again.quantize, engine.quantize) << command;
    EXPECT_EQ(again.kv_dtype, engine.kv_dtype) << command;
    EXPECT_EQ(again.expert_places, engine.expert_places) << command;
    EXPECT_EQ(again.offload_dir, engine.offload_dir) << command;
    EXPECT_EQ(again.prefix_caching, engine.prefix_caching) << command;
    EXPECT_EQ(again.attention, engine.attention) << command;
    EXPECT_EQ(again.cuda_graphs, engine.cuda_graphs) << command;
    EXPECT_EQ(again.kv_cache_bytes, engine.kv_cache_bytes) << command;
    EXPECT_EQ(again.num_threads, engine.num_threads) << command;
  }
}

TEST(ServeCommandOf, QuotesWhatAShellWouldTakeApart) {
  EngineConfig engine;
  engine.model_dir = "my model's";
  EXPECT_EQ(ServeCommandOf(engine), "switchyard serve --model 'my model'\\''s'");
}

}  // namespace
}  // namespace switchyard
