// `switchyard doctor`: what the GPUs of this machine are, what joins them, and how to serve on them.
#pragma once

#include "server/settings/settings.h"

namespace switchyard {

// Prints tables of the GPUs, of copies between every two, of the collectives' times, and advice; with --json one
// object. Needs no model. Returns the exit code: 2 where there is no GPU or `switchyard serve` could not use these,
// with the remedy printed.
int RunDoctor(const Settings& settings);

}  // namespace switchyard
