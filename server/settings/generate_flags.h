// The flags of `switchyard generate`: the prompt, how its answer is drawn, and how that is printed.
#pragma once

#include <vector>

#include "server/settings/flag.h"
#include "server/settings/schema.h"

namespace switchyard {

// Bound to `draft`, which outlives them.
void AddGenerateFlags(SettingsDraft* draft, std::vector<Flag>* flags);

}  // namespace switchyard
