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
        absl::StrCat("\"", text, "\" is no number of experts: 1 or more of each layer stay on the device, auto as many as "
                     "fit, none turns offloading off"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddOffloadFlags(EngineConfig* engine, std::vector<Flag>* flags) {
  std::error_code error;
  const std::filesystem::path temporary = std::filesystem::temp_directory_path(error);
  if (!error) engine->offload_dir = temporary.string();

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
  flags->push_back(In(memory, TextFlag("offload-dir", "DIR",
                                       "--device cpu: where --offload-experts keeps its files, which have no names; a "
                                       "directory on a fast disk, not one in memory",
                                       &engine->offload_dir)));
}

}  // namespace switchyard
