// A memory plan as a table for people, and as JSON for programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/memory_plan.h"

namespace switchyard {

// A plan and what it means for each rank of the job.
struct MemoryReport {
  EnginePlan plan;
  const DecoderSpec* spec = nullptr;
  std::vector<RankMemory> memory;   // [ranks]
  std::vector<int64_t> free_bytes;  // [ranks]
  std::vector<std::string> cards;   // [ranks]: "GPU 0", "16GiB", "CPU"
  absl::Status fits;
  std::vector<std::string> warnings;  // of loading so
  std::string command;                // that serves so; empty: nobody asked

  int64_t tokens_per_rank() const { return plan.kv_shape.num_pages * plan.config.page_size; }
  // Ranks that share their sequences hold parts of the same tokens.
  int64_t tokens() const { return plan.scheduler.num_kv_domains * tokens_per_rank(); }
  int64_t longest_sequence() const;
  // Sequences of --max-model-len at the same time, on all ranks together.
  int64_t full_sequences() const;
};

nlohmann::ordered_json ToJson(const MemoryReport& report);
std::string ToTable(const MemoryReport& report);

}  // namespace switchyard
