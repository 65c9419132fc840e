// The three ways in which tokens reach their experts; see docs/EXCHANGE.md for when each is the fastest.
#pragma once

#include <optional>
#include <string_view>

namespace switchyard {

enum class ExchangeStrategy {
  kAllToAll,   // tokens divided among ranks; a row travels once to each rank that owns one of its experts, and back
  kAllGather,  // tokens divided; every rank sees every token; reduce-scatter of the weighted sums; fixed sizes
  kAllReduce,  // the same tokens on every rank; one all-reduce of the weighted sums
};

const char* Name(ExchangeStrategy strategy);  // "all_to_all", "all_gather", "all_reduce"
std::optional<ExchangeStrategy> ParseExchangeStrategy(std::string_view name);

}  // namespace switchyard
