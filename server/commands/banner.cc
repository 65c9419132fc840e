#include "server/commands/banner.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/version.h"

namespace switchyard {
namespace {

// An address to connect to: a server on all addresses is also on the loopback.
std::string Reachable(const Endpoint& endpoint, uint16_t port) {
  if (!endpoint.unix_path.empty()) return Format(endpoint);
  Endpoint reachable = {endpoint.host, port};
  if (reachable.host == "0.0.0.0") reachable.host = "127.0.0.1";
  if (reachable.host == "::") reachable.host = "::1";
  return Format(reachable);
}

nlohmann::ordered_json Bound(const Endpoint& endpoint, uint16_t port) {
  if (!endpoint.unix_path.empty()) return {{"unix", endpoint.unix_path}};
  return {{"host", endpoint.host}, {"port", port}};
}

struct Example {
  std::string path;  // "/chat/completions"
  nlohmann::ordered_json body;
  std::string python_call;  // "chat.completions.create"
  std::string python_prompt;
  std::string python_answer;
};

Example ExampleFor(const std::string& model, const Engine& engine) {
  const nlohmann::ordered_json question = {{"role", "user"}, {"content", "What is 12 + 7?"}};
  if (engine.tokenizer() != nullptr && engine.chat_template() != nullptr) {
    const auto messages = nlohmann::ordered_json::array({question});
    return {"/chat/completions",
            {{"model", model}, {"messages", messages}, {"max_tokens", 32}, {"temperature", 0}},
            "chat.completions.create",
            absl::StrCat("messages=", messages.dump()),
            "choices[0].message.content"};
  }
  const nlohmann::ordered_json prompt = engine.tokenizer() != nullptr
                                            ? nlohmann::ordered_json("In the beginning")
                                            : nlohmann::ordered_json(std::vector<int>{1, 2, 3});
  return {"/completions",
          {{"model", model}, {"prompt", prompt}, {"max_tokens", 32}, {"temperature", 0}},
          "completions.create",
          absl::StrCat("prompt=", prompt.dump()),
          "choices[0].text"};
}

}  // namespace

std::string Banner(const ServeSettings& settings, const BoundPorts& ports, const Engine& engine) {
  const ModelInfo& info = engine.model_info();
  const bool is_unix = !settings.http.unix_path.empty();
  const std::string authority = is_unix ? "localhost" : Reachable(settings.http, ports.http);
  const std::string page =
      absl::StrCat(!is_unix && !settings.tls_cert.empty() ? "https://" : "http://", authority, "/");
  const std::string base_url = absl::StrCat(page, "v1");
  const std::string curl = is_unix ? absl::StrCat("curl --unix-socket ", settings.http.unix_path, " ") : "curl ";
  const std::string client = is_unix ? absl::StrCat(", http_client=httpx.Client(transport=httpx.HTTPTransport(uds=",
                                                    nlohmann::json(settings.http.unix_path).dump(), "))")
                                     : "";
  const bool needs_key = NeedsKey(settings);
  const Example example = ExampleFor(settings.served_model_name, engine);
  const std::string name = nlohmann::json(settings.served_model_name).dump();
  // Within single quotes a shell takes everything as it is, but for the quote itself.
  const std::string body = absl::StrReplaceAll(example.body.dump(), {{"'", "'\\''"}});
  return absl::StrCat("\nSwitchyard ", kServerVersion, " serves ", name, ": ", info.spec.model_type, ", ",
                      info.spec.num_layers, " layers, ", info.spec.num_experts, " experts (top ",
                      info.spec.experts_per_token, ") on ", info.world_size,
                      info.world_size == 1 ? " rank\n" : " ranks\n",                         //
                      "  experts    ", info.placement, "\n",                                 //
                      "  exchange   ", info.exchange, ", attention ", info.attention, "\n",  //
                      "  device     ", info.device, "\n",                                    //
                      "  HTTP       ", base_url, is_unix ? absl::StrCat(" over ", Format(settings.http)) : "",
                      needs_key ? " (API key needed)" : "", "\n",                                              //
                      is_unix ? "" : absl::StrCat("  playground ", page, " (in a browser)\n"),                 //
                      "  gRPC       ", Reachable(settings.grpc, ports.grpc), " (switchyard.v1.Generation)\n",  //
                      "\nTry it:\n\n",                                                                         //
                      curl, base_url, example.path, " -H 'Content-Type: application/json'",                    //
                      needs_key ? " -H 'Authorization: Bearer YOUR_KEY'" : "", " -d '", body, "'\n",           //
                      "\nOr in Python (pip install openai):\n\n",                                              //
                      is_unix ? "import httpx\n" : "", "from openai import OpenAI\n",                          //
                      "client = OpenAI(base_url=\"", base_url, "\", api_key=\"", needs_key ? "YOUR_KEY" : "none", "\"",
                      client, ")\n",                                                                         //
                      "answer = client.", example.python_call, "(\n",                                        //
                      "    model=", name, ", ", example.python_prompt, ", max_tokens=32, temperature=0)\n",  //
                      "print(answer.", example.python_answer, ")\n",                                         //
                      "\nCtrl-C ends it once open requests have finished.\n");
}

std::string ReadyJson(const ServeSettings& settings, const BoundPorts& ports) {
  nlohmann::ordered_json object;
  object["http"] = Bound(settings.http, ports.http);
  object["grpc"] = Bound(settings.grpc, ports.grpc);
  object["model"] = settings.served_model_name;
  object["pid"] = getpid();
  return object.dump();
}

}  // namespace switchyard
