// Filters on texts.
#pragma once

#include "engine/text/jinja/builtins.h"

namespace switchyard::jinja {

// Null: there is none of that name among them.
Filter FindStringFilter(std::string_view name);

}  // namespace switchyard::jinja
