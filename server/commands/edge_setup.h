// The serve command's keys and records, made and read again.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "server/edge.h"
#include "server/http/server.h"
#include "server/settings/settings.h"

namespace switchyard {

// INVALID_ARGUMENT names the flag and the file that cannot be used.
absl::StatusOr<std::unique_ptr<Edge>> MakeEdge(const ServeSettings& settings);

bool HasFilesToReload(const ServeSettings& settings);

// SIGHUP: reads the keys and the HTTP certificate again and opens the access log anew. What is broken stays as it was,
// and the log says why.
void Reload(const ServeSettings& settings, Edge& edge, http::Server& http);

}  // namespace switchyard
