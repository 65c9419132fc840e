// The flags of `switchyard serve` that say who may connect, how, and for how much; and what is written of it.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "server/settings/flag.h"
#include "server/settings/schema.h"

namespace switchyard {

// Keys, TLS, origins, limits of both front ends, access log, traces; bound to `draft`, which outlives them.
void AddEdgeFlags(SettingsDraft* draft, std::vector<Flag>* flags);

// What must hold among them: a usable key file, both halves of a certificate, and keys (or client certificates, or
// --allow-unauthenticated) where other hosts can connect.
absl::Status CompleteEdge(SettingsDraft* draft);

}  // namespace switchyard
