// Rows of packed codes from files that hold them by columns, a tile of both at a time, so that reads and writes stay in
// whole cache lines.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace switchyard {

inline constexpr int64_t kTileRows = 64;   // outputs: 256 bytes of each of the file's rows
inline constexpr int64_t kTileWords = 16;  // 64 bytes of each row of codes

// out [rows, num_words], words of 32 bits, little-endian. `fill(word, row, n, words)` writes the words `word` of the
// rows [row, row + n), n <= kTileRows, to `words` [n]; `row` is a multiple of kTileRows.
template <typename Fill>
void TransposeWords(int64_t num_words, int64_t rows, const Fill& fill, uint8_t* out) {
  uint32_t tile[kTileWords][kTileRows];
  for (int64_t row = 0; row < rows; row += kTileRows) {
    const int64_t tile_rows = std::min(kTileRows, rows - row);
    for (int64_t word = 0; word < num_words; word += kTileWords) {
      const int64_t tile_words = std::min(kTileWords, num_words - word);
      for (int64_t w = 0; w < tile_words; ++w) fill(word + w, row, tile_rows, tile[w]);
      for (int64_t r = 0; r < tile_rows; ++r) {
        uint32_t line[kTileWords];
        for (int64_t w = 0; w < tile_words; ++w) line[w] = tile[w][r];
        std::memcpy(out + ((row + r) * num_words + word) * 4, line, static_cast<size_t>(tile_words) * 4);
      }
    }
  }
}

}  // namespace switchyard
