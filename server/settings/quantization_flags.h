// The flags that say in how many bits weights and KV pages are held.
#pragma once

#include <vector>

#include "server/settings/flag.h"
#include "server/settings/schema.h"

namespace switchyard {

// --quantize (of `switchyard quantize`: --format), --quantize-attention, --quantize-embeddings; bound to `draft`, which
// outlives them.
void AddQuantizationFlags(SettingsDraft* draft, std::vector<Flag>* flags);
// --kv-dtype.
Flag KvDTypeFlag(std::optional<DType>* target);
// Without --quantize-attention it is what --quantize or --format says.
void CompleteQuantization(SettingsDraft* draft);

}  // namespace switchyard
