#include "server/http/router.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace switchyard::http {

void Router::Add(std::string method, std::string path, RouteHandler handler) {
  routes_.push_back({std::move(method), std::move(path), std::move(handler)});
}

bool Router::Matches(const Route& route, std::string_view path) {
  if (route.path.size() > 1 && route.path.back() == '/') {
    return path.size() > route.path.size() && path.starts_with(route.path);
  }
  return route.path == path;
}

std::unique_ptr<Answer> Router::Dispatch(const Request& request, Waker waker) const {
  const std::string_view method = request.method == "HEAD" ? "GET" : std::string_view(request.method);
  std::set<std::string> allowed;
  for (const Route& route : routes_) {
    if (!Matches(route, request.path)) continue;
    if (route.method == method) return route.handler(request, std::move(waker));
    allowed.insert(route.method);
  }

  Response response;
  if (allowed.empty()) {
    response.status = 404;
    response.body = error_(404, absl::StrCat("there is no ", request.path.substr(0, 200), " here; see /v1/models, ",
                                             "/v1/completions and /v1/chat/completions"));
    return std::make_unique<ReadyAnswer>(std::move(response));
  }
  if (allowed.count("GET") > 0) allowed.insert("HEAD");
  allowed.insert("OPTIONS");
  const std::string allow = absl::StrJoin(allowed, ", ");
  response.headers.push_back({"Allow", allow});
  if (request.method == "OPTIONS") {
    response.status = 204;
  } else {
    response.status = 405;
    response.body = error_(405, absl::StrCat(request.path.substr(0, 200), " does not take ",
                                             request.method.substr(0, 20), "; it takes ", allow));
  }
  return std::make_unique<ReadyAnswer>(std::move(response));
}

}  // namespace switchyard::http
