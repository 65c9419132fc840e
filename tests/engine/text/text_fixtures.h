// The bundled tokenizer, changed copies of its directory, and the golden files.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/text/tokenizer.h"

namespace switchyard {

inline std::string BundledModel() { return SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral"; }

inline nlohmann::json ReadJsonFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + " cannot be opened");
  return nlohmann::json::parse(file);
}

inline nlohmann::json Golden(const std::string& name) {
  return ReadJsonFile(SWITCHYARD_SOURCE_DIR "/tests/golden/tokenizer/" + name + ".json");
}

// A directory of its own with the bundled tokenizer's files, removed at the end.
class TokenizerDirectory {
 public:
  TokenizerDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "switchyard-text-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = name;
    for (const char* file : {"tokenizer.model", "tokenizer_config.json"}) {
      std::filesystem::copy(std::filesystem::path(BundledModel()) / file, path_ / file);
    }
  }
  ~TokenizerDirectory() { std::filesystem::remove_all(path_); }
  TokenizerDirectory(const TokenizerDirectory&) = delete;
  TokenizerDirectory& operator=(const TokenizerDirectory&) = delete;

  std::string path() const { return path_.string(); }
  void Write(const std::string& file, const std::string& content) const {
    std::ofstream(path_ / file, std::ios::binary) << content;
  }
  void Remove(const std::string& file) const { std::filesystem::remove(path_ / file); }
  nlohmann::json Config() const { return ReadJsonFile(path_ / "tokenizer_config.json"); }
  // A JSON merge patch (RFC 7396) of tokenizer_config.json.
  void Patch(const nlohmann::json& patch) const {
    nlohmann::json config = Config();
    config.merge_patch(patch);
    Write("tokenizer_config.json", config.dump());
  }

 private:
  std::filesystem::path path_;
};

inline std::unique_ptr<Tokenizer> OpenTokenizer(const std::string& directory) {
  auto tokenizer = Tokenizer::Open(directory);
  if (!tokenizer.ok()) throw std::runtime_error(tokenizer.status().ToString());
  return *std::move(tokenizer);
}

}  // namespace switchyard
