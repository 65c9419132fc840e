// The version of the engine: processes of one server must agree on it.
#pragma once

namespace switchyard {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace switchyard
