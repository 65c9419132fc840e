// What `switchyard --version`, GetModelInfo and /version say.
#pragma once

namespace switchyard {

inline constexpr char kServerVersion[] = "0.1.0";

}  // namespace switchyard
