// `switchyard plan`: what each GPU's memory would hold.
#pragma once

#include "server/settings/settings.h"

namespace switchyard {

// Prints a table of GiB per category and GPU and how many tokens of KV cache remain; with --json one object with exact
// bytes. Loads nothing; with --gpus 16GiB,16GiB no GPU is needed, and the checkpoint may be a config.json alone.
// Returns the exit code: 2 where it does not fit, after printing what is missing and the flags that would help.
int RunPlan(const Settings& settings);

}  // namespace switchyard
