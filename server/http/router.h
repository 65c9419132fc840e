// Path and method to handler.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/answer.h"
#include "server/http/message.h"

namespace switchyard::http {

// Thread safety: Add before use; immutable afterwards.
class Router {
 public:
  explicit Router(ErrorBody error) : error_(error) {}

  // `path` is matched as a whole, or as a prefix when it ends with '/' and something follows: "/v1/models/" takes
  // "/v1/models/org/name".
  using RouteHandler = std::function<std::unique_ptr<Answer>(const Request& request, Waker waker)>;
  void Add(std::string method, std::string path, RouteHandler handler);

  // 404 for a path that no route has; 405 with Allow for a method that the path has not. HEAD is served by GET's
  // handler (the connection leaves out the body); OPTIONS says which methods there are.
  std::unique_ptr<Answer> Dispatch(const Request& request, Waker waker) const;

 private:
  struct Route {
    std::string method;
    std::string path;
    RouteHandler handler;
  };
  static bool Matches(const Route& route, std::string_view path);

  ErrorBody error_;
  std::vector<Route> routes_;
};

}  // namespace switchyard::http
