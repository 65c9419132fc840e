// Where log lines go and what they look like.
#pragma once

#include "server/settings/settings.h"

namespace switchyard {

// Makes spdlog's default logger write to standard error, lines for people or one JSON object per line:
// {"time": "2024-05-01T12:00:00.000Z", "level": "info", "thread": 17, "message": "..."}. Call before other threads log.
void SetUpLogging(const LogSettings& settings);

}  // namespace switchyard
