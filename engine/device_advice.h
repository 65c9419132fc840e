// What the state of the GPUs means for serving on them, in words.
#pragma once

#include <string>
#include <vector>

#include "engine/device_report.h"

namespace switchyard {

struct DeviceAdvice {
  enum class Level {
    kFault,    // as it is, `switchyard serve` on these GPUs fails or answers wrongly
    kWarning,  // works, with a loss
    kNote,
  };
  Level level = Level::kNote;
  std::string text;  // what was found, then the remedy
};
const char* Name(DeviceAdvice::Level level);  // "fault", "warning", "note"

// The collectives that one layer needs for a token of one sequence, and what they cost a model of kAdviceLayers
// layers at least.
struct LatencyFloor {
  std::string flags;  // "--attention replicated --exchange all_reduce"
  int collectives_per_layer = 0;
  double seconds_per_token = 0;
};
inline constexpr int kAdviceLayers = 32;  // of Mixtral 8x7B

// Fastest first; empty where no collectives were measured.
std::vector<LatencyFloor> LatencyFloors(const DeviceReport& report);

// Faults first, then warnings, then notes. A pure function.
std::vector<DeviceAdvice> AdviseOn(const DeviceReport& report);

// No fault is among them.
bool IsUsable(const std::vector<DeviceAdvice>& advice);

// The command to try.
std::string ServeLine(const DeviceReport& report);

}  // namespace switchyard
