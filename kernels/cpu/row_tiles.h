// The rows of a product in tiles that are packed, and pass by the weights, together.
#pragma once

#include <cstdint>

namespace switchyard {

template <int64_t kMostRows>
struct RowTiles {
  static constexpr int64_t kTileRows = kMostRows;

  // Tile `i` of `rows` rows is [TileBegin(rows, i), TileBegin(rows, i + 1)); sizes differ by one at most.
  static constexpr int64_t NumTiles(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }
  static constexpr int64_t TileBegin(int64_t rows, int64_t i) { return rows == 0 ? 0 : i * rows / NumTiles(rows); }
};

}  // namespace switchyard
