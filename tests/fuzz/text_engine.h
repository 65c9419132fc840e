// The half of an engine that requests are read against: a model's configuration, tokenizer and chat template. It has no
// ranks and takes no request.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "engine/checkpoint/config_files.h"
#include "engine/engine.h"
#include "kernels/check.h"

namespace switchyard {

// Thread safety: as Engine.
class TextEngine : public Engine {
 public:
  // `directory` holds a model; its weights are not looked at.
  TextEngine(const std::string& directory, const ConstraintLimits& limits) {
    auto config = ReadConfigFiles(directory + "/config.json", OpenPosixFile);
    CHECK(config.ok());
    info_.spec = config->spec;
    info_.defaults = config->defaults;
    info_.max_model_len = config->spec.max_position_embeddings;
    auto tokenizer = Tokenizer::Open(directory);
    CHECK(tokenizer.ok());
    tokenizer_ = *std::move(tokenizer);
    auto chat_template = ChatTemplate::Open(directory, *tokenizer_);
    CHECK(chat_template.ok());
    chat_template_ = *std::move(chat_template);
    constraints_ =
        std::make_unique<ConstraintCompiler>(tokenizer_.get(), info_.spec.vocab_size, /*max_kept=*/4, limits);
  }

  const ModelInfo& model_info() const override { return info_; }
  const Tokenizer* tokenizer() const override { return tokenizer_.get(); }
  ConstraintCompiler* constraints() const override { return constraints_.get(); }
  const ChatTemplate* chat_template() const override { return chat_template_.get(); }
  absl::Status chat_template_status() const override { return absl::OkStatus(); }
  absl::Status Submit(GenerationRequest, UpdateCallback) override { return NoRanks(); }
  void Abort(const std::string&) override {}
  absl::Status Drain(absl::Duration) override { return absl::OkStatus(); }
  absl::Status Health() const override { return NoRanks(); }
  absl::Status Failure() const override { return NoRanks(); }
  EngineStats Stats() const override { return {}; }

 private:
  static absl::Status NoRanks() { return absl::UnavailableError("this engine only reads"); }

  ModelInfo info_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::unique_ptr<ConstraintCompiler> constraints_;
};

}  // namespace switchyard
