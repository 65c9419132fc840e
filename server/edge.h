// What both front ends share of their clients: whose keys are right, and what is recorded.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "server/access/authorizer.h"
#include "server/telemetry/telemetry.h"

namespace switchyard {

// Thread safety: every member from any thread. It outlives the front ends and the engine, whose callbacks use it.
struct Edge {
  explicit Edge(const std::vector<ApiKey>& keys = {},
                std::unique_ptr<Telemetry> records = std::make_unique<Telemetry>())
      : authorizer(keys), telemetry(std::move(records)) {}

  Authorizer authorizer;
  const std::unique_ptr<Telemetry> telemetry;  // never null
};

}  // namespace switchyard
