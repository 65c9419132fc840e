// y = x W^T for a range of W's rows, on one thread, from operands laid out for it.
//
// Rows are packed in tiles (FloatTiles), [chunks][tile rows][16 columns] like PackedMatrix, tile after tile:
// a tile that starts with row r starts at element r * chunks * 16. The kernel keeps a tile's products with one group
// of 4 weight rows in registers, so a weight is read from memory, and converted to float32, once per block of tiles
// that fits the second-level cache. With one row it runs at the speed of memory, from some four on at that of the FMAs.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/row_tiles.h"

namespace switchyard {

using FloatTiles = RowTiles<6>;

// Elements of `rows` packed rows of `columns` each.
constexpr int64_t PackedRowsSize(int64_t rows, int64_t columns) {
  return rows * PackedMatrix::NumChunks(columns) * PackedMatrix::kChunk;
}

// Packs tile `tile` of `rows` rows; source(r) is row r's data, float [columns]; packed as above.
template <typename Source>
void PackTile(int64_t rows, int64_t tile, int64_t columns, Source source, float* packed) {
  constexpr int64_t kChunk = PackedMatrix::kChunk;
  const int64_t begin = FloatTiles::TileBegin(rows, tile);
  const int64_t tile_rows = FloatTiles::TileBegin(rows, tile + 1) - begin;
  const int64_t full_chunks = columns / kChunk;
  float* out = packed + PackedRowsSize(begin, columns);
  for (int64_t r = 0; r < tile_rows; ++r) {
    const float* row = source(begin + r);
    float* dst = out + r * kChunk;
    for (int64_t c = 0; c < full_chunks; ++c, row += kChunk, dst += tile_rows * kChunk) {
      for (int64_t i = 0; i < kChunk; ++i) dst[i] = row[i];
    }
    if (const int64_t rest = columns % kChunk; rest != 0) {
      for (int64_t i = 0; i < kChunk; ++i) dst[i] = i < rest ? row[i] : 0.0f;
    }
  }
}

// Writes columns [4 * group_begin, min(4 * group_end, out_features)) of y [rows, out_features].
void MultiplyGroups(const float* packed_rows, int64_t rows, const PackedMatrix& weight, int64_t group_begin,
                    int64_t group_end, float* y);

// The instruction set that the kernels of this folder run with here: "AVX3", "AVX2", ...
const char* VectorTargetName();

}  // namespace switchyard
