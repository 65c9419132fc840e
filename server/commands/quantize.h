// `switchyard quantize`: a checkpoint in 4 or 8 bits from one in 16.
#pragma once

#include "server/settings/settings.h"

namespace switchyard {

// Writes --out with a progress line, and says at the end how much was read and written. SIGINT and SIGTERM end it and
// leave nothing behind. Returns the exit code.
int RunQuantize(const Settings& settings);

}  // namespace switchyard
