#include "engine/checkpoint/quantized_sources/awq.h"

#include <array>
#include <cstring>
#include <vector>

#include "engine/checkpoint/quantized_sources/group_arrays.h"
#include "engine/checkpoint/quantized_sources/word_tiles.h"

namespace switchyard {
namespace {

constexpr int64_t kPerWord = 8;
constexpr std::array<int64_t, kPerWord> kOrder = {0, 2, 4, 6, 1, 3, 5, 7};

// [groups, out].
std::vector<uint8_t> UnpackZeros(std::span<const uint32_t> words) {
  std::vector<uint8_t> zeros(words.size() * kPerWord);
  for (size_t w = 0; w < words.size(); ++w) {
    for (int64_t i = 0; i < kPerWord; ++i) {
      const size_t output = w * kPerWord + static_cast<size_t>(kOrder[static_cast<size_t>(i)]);
      zeros[output] = static_cast<uint8_t>(words[w] >> (4 * i) & 0xF);
    }
  }
  return zeros;
}

constexpr int64_t kLanes = kTileRows / kPerWord;
// Word c of lane l: the codes of column c of eight outputs.
using Block = uint32_t[kPerWord][kLanes];

// Swaps the codes whose place in the word has the bit `kStep` with those in the word that lacks it.
template <int kStep>
void SwapCodes(Block& block, uint32_t lacking) {
  for (size_t c = 0; c < kPerWord; ++c) {
    if ((c & kStep) != 0) continue;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      uint32_t& low = block[c][lane];
      uint32_t& high = block[c + kStep][lane];
      const uint32_t difference = (low >> (4 * kStep) ^ high) & lacking;
      high ^= difference;
      low ^= difference << (4 * kStep);
    }
  }
}

// Of every lane, word i becomes the codes i of all eight words: the outputs' codes of eight columns.
void TransposeCodes(Block& block) {
  SwapCodes<4>(block, 0x0000FFFF);
  SwapCodes<2>(block, 0x00FF00FF);
  SwapCodes<1>(block, 0x0F0F0F0F);
}

}  // namespace

absl::StatusOr<QuantizedTensor> ConvertAwq(const SourceParts& parts) {
  absl::StatusOr<QuantizedTensor> tensor = MakeGrouped(parts, UnpackZeros(parts.Get<uint32_t>("qzeros")));
  if (!tensor.ok()) return tensor.status();
  const std::span<const uint32_t> qweight = parts.Get<uint32_t>("qweight");
  const int64_t stride = tensor->rows / kPerWord;
  const auto fill = [qweight, stride](int64_t word, int64_t row, int64_t n, uint32_t* words) {
    const int64_t lanes = n / kPerWord;
    Block block = {};
    for (int64_t c = 0; c < kPerWord; ++c) {
      const uint32_t* const source = qweight.data() + (word * kPerWord + c) * stride + row / kPerWord;
      std::memcpy(block[c], source, static_cast<size_t>(lanes) * sizeof(uint32_t));
    }
    TransposeCodes(block);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      for (size_t i = 0; i < kPerWord; ++i) words[lane * kPerWord + kOrder[i]] = block[i][lane];
    }
  };
  TransposeWords(tensor->columns / kPerWord, tensor->rows, fill, tensor->codes.data());
  return tensor;
}

}  // namespace switchyard
