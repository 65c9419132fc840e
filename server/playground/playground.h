// The page at "/": a playground in one file, without any asset from elsewhere.
#pragma once

#include <string>

#include "server/http/message.h"

namespace switchyard {

// The page, with a Content-Security-Policy that allows its own script and style, by their hashes, and requests to this
// server; nothing else. Holds no secrets: it asks its user for the key.
http::Response PlaygroundPage();

}  // namespace switchyard
