// What `switchyard --version`, GetModelInfo and /version say.
#pragma once

#include "engine/version.h"

namespace switchyard {

inline constexpr const char* kServerVersion = kVersion;

}  // namespace switchyard
