// Steps over offloaded experts beside the same steps over experts that are all on the device: one body for all
// backends.
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace switchyard {

struct OffloadSteps {
  ExpertWeightsSpec spec;
  int64_t num_places = 0;
  int num_steps = 12;
  int64_t max_rows = 9;  // of a step
  uint32_t seed = 1;
};

// Runs random steps of two layers, each with a forecast for the other that is right or wrong, on a backend where
// everything is resident and on one where `offloaded` experts are, and expects every bit of the results to be the same
// and what is counted to add up.
void ExpectTheSameWithOffload(Backend& resident, Backend& offloaded, const OffloadSteps& steps);

}  // namespace switchyard
