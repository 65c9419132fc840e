#include "parallel/exchange_strategy.h"

namespace switchyard {

const char* Name(ExchangeStrategy strategy) {
  switch (strategy) {
    case ExchangeStrategy::kAllToAll:
      return "all_to_all";
    case ExchangeStrategy::kAllGather:
      return "all_gather";
    case ExchangeStrategy::kAllReduce:
      return "all_reduce";
  }
  return "?";
}

std::optional<ExchangeStrategy> ParseExchangeStrategy(std::string_view name) {
  for (const auto strategy :
       {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather, ExchangeStrategy::kAllReduce}) {
    if (name == Name(strategy)) return strategy;
  }
  return std::nullopt;
}

}  // namespace switchyard
