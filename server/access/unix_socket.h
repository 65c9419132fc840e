// Paths of unix sockets: what both front ends must do about one.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace switchyard {

// Makes `path` free to bind: removes the socket that a server which is gone has left there. ALREADY_EXISTS: a server
// listens there, or the path is something else than a socket; PERMISSION_DENIED: it cannot be looked at or removed;
// NOT_FOUND: its directory does not exist. Each names the path.
absl::Status ClaimUnixSocket(const std::string& path);

}  // namespace switchyard
