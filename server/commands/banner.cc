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
  Endpoint reachable = {endpoint.host, port};
  if (reachable.host == "0.0.0.0") reachable.host = "127.0.0.1";
  if (reachable.host == "::") reachable.host = "::1";
  return Format(reachable);
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
  const std::string base_url = absl::StrCat("http://", Reachable(settings.http, ports.http), "/v1");
  const bool needs_key = !settings.api_keys.empty();
  const Example example = ExampleFor(settings.served_model_name, engine);
  const std::string name = nlohmann::json(settings.served_model_name).dump();
  // Within single quotes a shell takes everything as it is, but for the quote itself.
  const std::string body = absl::StrReplaceAll(example.body.dump(), {{"'", "'\\''"}});
  return absl::StrCat(
      "\nSwitchyard ", kServerVersion, " serves ", name, ": ", info.spec.model_type, ", ", info.spec.num_layers,
      " layers, ", info.spec.num_experts, " experts (top ", info.spec.experts_per_token, ") on ", info.world_size,
      info.world_size == 1 ? " rank\n" : " ranks\n",                                                        //
      "  experts    ", info.placement, "\n",                                                                //
      "  exchange   ", info.exchange, ", attention ", info.attention, "\n",                                 //
      "  device     ", info.device, "\n",                                                                   //
      "  HTTP       ", base_url, needs_key ? " (API key needed)" : "", "\n",                                //
      "  gRPC       ", Reachable(settings.grpc, ports.grpc), " (switchyard.v1.Generation)\n",               //
      "\nTry it:\n\n",                                                                                      //
      "curl ", base_url, example.path, " -H 'Content-Type: application/json'",                              //
      needs_key ? " -H 'Authorization: Bearer YOUR_KEY'" : "", " -d '", body, "'\n",                        //
      "\nOr in Python (pip install openai):\n\n",                                                           //
      "from openai import OpenAI\n",                                                                        //
      "client = OpenAI(base_url=\"", base_url, "\", api_key=\"", needs_key ? "YOUR_KEY" : "none", "\")\n",  //
      "answer = client.", example.python_call, "(\n",                                                       //
      "    model=", name, ", ", example.python_prompt, ", max_tokens=32, temperature=0)\n",                 //
      "print(answer.", example.python_answer, ")\n",                                                        //
      "\nCtrl-C ends it once open requests have finished.\n");
}

std::string ReadyJson(const ServeSettings& settings, const BoundPorts& ports) {
  nlohmann::ordered_json object;
  object["http"] = {{"host", settings.http.host}, {"port", ports.http}};
  object["grpc"] = {{"host", settings.grpc.host}, {"port", ports.grpc}};
  object["model"] = settings.served_model_name;
  object["pid"] = getpid();
  return object.dump();
}

}  // namespace switchyard
