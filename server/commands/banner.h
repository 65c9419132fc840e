// What `serve` prints once it is ready: what is served, where, and lines to paste.
#pragma once

#include <cstdint>
#include <string>

#include "engine/engine.h"
#include "server/settings/settings.h"

namespace switchyard {

struct BoundPorts {
  uint16_t http = 0;
  uint16_t grpc = 0;
};

// The curl line and the Python snippet work when pasted on this host: with the real name and port, as a chat where the
// model can chat, else as a completion of text or of token ids. Keys are not printed; YOUR_KEY stands for one.
std::string Banner(const ServeSettings& settings, const BoundPorts& ports, const Engine& engine);

// {"http": {"host": "127.0.0.1", "port": 8000}, "grpc": {...}, "model": "...", "pid": 42}
std::string ReadyJson(const ServeSettings& settings, const BoundPorts& ports);

}  // namespace switchyard
