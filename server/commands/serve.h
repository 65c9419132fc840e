// `switchyard serve`: the front ends around an engine, from start-up to drain.
#pragma once

#include "server/settings/settings.h"

namespace switchyard {

// Listens at once (/ready says how loading goes), loads, prints the banner on standard output and writes --ready-file,
// serves until SIGTERM or SIGINT, then drains: new requests are refused, open ones finish within --drain-timeout.
// Returns the exit code: 0 after a drain in which all finished.
int RunServe(const Settings& settings);

}  // namespace switchyard
