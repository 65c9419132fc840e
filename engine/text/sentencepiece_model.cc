#include "engine/text/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <charconv>
#include <exception>
#include <string>

#include "engine/text/utf8_assembler.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

// Protocol buffers merge what is concatenated: this is a ModelProto of only normalizer_spec (field 3)
// { add_dummy_prefix (field 3): false }, numbered as in sentencepiece_model.proto.
constexpr std::string_view kNoDummyPrefix("\x1A\x02\x18\x00", 4);

// The byte of "<0xE2>"; nullopt for another name.
std::optional<char> ByteOf(std::string_view name) {
  uint8_t byte = 0;
  if (name.size() != 6 || !name.starts_with("<0x") || name[5] != '>') return std::nullopt;
  const auto [end, error] = std::from_chars(name.data() + 3, name.data() + 5, byte, 16);
  if (error != std::errc() || end != name.data() + 5) return std::nullopt;
  return static_cast<char>(byte);
}

}  // namespace

std::string MarksToSpaces(std::string_view name) {
  std::string out;
  for (size_t i = 0; i < name.size();) {
    const bool is_mark = name.substr(i).starts_with(kSpaceMark);
    out.push_back(is_mark ? ' ' : name[i]);
    i += is_mark ? kSpaceMark.size() : 1;
  }
  return out;
}

struct SentencePieceModel::Library {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel() : library_(std::make_unique<Library>()) {}
SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::Parse(std::string serialized, bool dummy_prefix,
                                                              std::string* error) {
  if (!dummy_prefix) serialized.append(kNoDummyPrefix);
  std::unique_ptr<SentencePieceModel> model(new SentencePieceModel());
  sentencepiece::SentencePieceProcessor& processor = model->library_->processor;
  try {
    const auto status = processor.LoadFromSerializedProto(serialized);
    if (!status.ok()) {
      *error = ToValidUtf8(status.ToString());
      return nullptr;
    }
    const int num_pieces = processor.GetPieceSize();
    model->pieces_.reserve(num_pieces);
    for (int id = 0; id < num_pieces; ++id) {
      Piece piece{.name = ToValidUtf8(processor.IdToPiece(id)), .bytes = ""};
      piece.special = processor.IsControl(id) || processor.IsUnknown(id);
      const std::optional<char> byte = processor.IsByte(id) ? ByteOf(piece.name) : std::nullopt;
      piece.bytes = byte ? std::string(1, *byte) : piece.special ? piece.name : MarksToSpaces(piece.name);
      model->pieces_.push_back(std::move(piece));
    }
    model->has_dummy_prefix_ = processor.DecodePieces(std::vector<std::string>{std::string(kSpaceMark)}).empty();
  } catch (const std::exception& e) {
    *error = ToValidUtf8(e.what());
    return nullptr;
  }
  return model;
}

std::vector<int32_t> SentencePieceModel::Encode(std::string_view text) const {
  std::vector<int> ids;
  const auto status = library_->processor.Encode(text, &ids);
  CHECK(status.ok());  // fails for a processor that is not loaded
  return {ids.begin(), ids.end()};
}

std::optional<int32_t> SentencePieceModel::Find(std::string_view name) const {
  const int id = library_->processor.PieceToId(name);
  if (id < 0 || static_cast<size_t>(id) >= pieces_.size() || pieces_[id].name != name) return std::nullopt;
  return id;
}

}  // namespace switchyard
