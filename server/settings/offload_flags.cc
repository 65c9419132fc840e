#include "server/settings/offload_flags.h"

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

absl::Status ReadPlaces(const std::string& text, std::optional<int64_t>* places) {
  int64_t count = 0;
  if (text == "none") {
    places->reset();
  } else if (text == "auto") {
    *places = kAutoExpertPlaces;
  } else if (absl::SimpleAtoi(text, &count) && count >= 1) {
    *places = count;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text,
                     "\" is no number of experts: 1 or more of each layer stay on the device, auto as many as "
                     "fit, none turns offloading off"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddOffloadFlags(EngineConfig* engine, std::vector<Flag>* flags) {
  const char* memory = "Memory and batching";
  Flag places;
  places.name = "offload-experts";
  places.value = "auto|N";
  places.help =
      "keep N experts of each layer on each rank's device, or as many as fit, and the others in pinned host memory "
      "(--device cpu: in a file); slower, with the same results";
  places.read = [engine](const std::string& text) { return ReadPlaces(text, &engine->expert_places); };
  places.show = [engine]() -> std::optional<std::string> { return Name(engine->expert_places); };
  flags->push_back(In(memory, std::move(places)));
  flags->push_back(
      In(memory, TextFlag("offload-dir", "DIR",
                          "--device cpu: where --offload-experts keeps its files, which have no names, on a "
                          "disk rather than in memory; default: the system's temporary directory",
                          &engine->offload_dir)));
}

absl::Status CompleteOffload(EngineConfig* engine) {
  if (engine->device == DeviceKind::kCuda) {
    if (engine->offload_dir.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("--offload-dir ", engine->offload_dir,
                                                   " is for --device cpu; GPUs copy experts from host memory"));
  }
  if (!engine->expert_places.has_value() || !engine->offload_dir.empty()) return absl::OkStatus();
  std::error_code error;
  engine->offload_dir = std::filesystem::temp_directory_path(error).string();
  if (!error) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--offload-experts: there is no temporary directory (",
                                                 error.message(), "); name one: --offload-dir"));
}

}  // namespace switchyard
