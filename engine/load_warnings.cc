#include "engine/load_warnings.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

struct ShardWarning {
  std::string text;
  int first_rank = 0;
  int num_ranks = 0;
};

}  // namespace

std::vector<std::string> LoadWarnings(const EnginePlan& plan, const Checkpoint& checkpoint) {
  std::vector<ShardWarning> of_shards;
  for (int rank = 0; rank < plan.world_size; ++rank) {
    for (std::string& text : checkpoint.WarningsOf(plan.ShardOf(rank))) {
      const auto known = std::find_if(of_shards.begin(), of_shards.end(),
                                      [&text](const ShardWarning& warning) { return warning.text == text; });
      if (known == of_shards.end()) {
        of_shards.push_back({.text = std::move(text), .first_rank = rank, .num_ranks = 1});
      } else {
        ++known->num_ranks;
      }
    }
  }
  std::vector<std::string> warnings = checkpoint.warnings();
  for (const ShardWarning& warning : of_shards) {
    const bool is_everywhere = warning.num_ranks == plan.world_size;
    warnings.push_back(is_everywhere ? warning.text : absl::StrCat("rank ", warning.first_rank, ": ", warning.text));
  }
  return warnings;
}

}  // namespace switchyard
