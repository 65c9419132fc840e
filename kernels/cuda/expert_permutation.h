// The pairs (row, k) of a step sorted by local expert, made on the device without the host. Bound: latency; 8 bytes
// read and 12 written per pair. Reference: kernels/cpu/expert_groups.h.
//
// A pair p = row * top_k + k whose slot is local becomes an entry; entries are ordered by expert, then by pair.
//
//   slots [[4, 1], [1, -1]], first_slot 0, 4 experts: offsets [0, 0, 2, 2, 2], entry_row [0, 1], place [-1, 0, 1, -1],
//   active_experts [1, -1, -1, -1], tile_begin [0, 0, 1, 1, 1], tile_expert [1, -1, -1, -1]
//
// A tile is kExpertTileRows consecutive entries of one expert, the last one of an expert fewer.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace switchyard::cuda {

inline constexpr int64_t kMaxLocalExperts = 512;
inline constexpr int64_t kExpertTileRows = 128;
// A chunk of pairs is what one block sorts.
inline constexpr int64_t kExpertChunkPairs = 8192;

// Where the lists lie; all in device memory, all written by PermuteExperts.
struct ExpertPermutation {
  int64_t num_pairs = 0;
  int64_t num_experts = 0;  // local ones

  int32_t* offsets = nullptr;         // [num_experts + 1], first entry of each expert
  int32_t* entry_row = nullptr;       // [num_pairs]; entries from offsets[num_experts] on are not written
  float* entry_weight = nullptr;      // [num_pairs], the same
  int32_t* place = nullptr;           // [num_pairs], entry of the pair; -1: not local
  int32_t* active_experts = nullptr;  // [max_active_experts()], those with entries, ascending; then -1
  int32_t* tile_begin = nullptr;      // [num_experts + 1], first tile of each expert
  int32_t* tile_expert = nullptr;     // [max_tiles()], the expert of each tile; then -1
  int32_t* chunk_counts = nullptr;    // [num_chunks(), num_experts], between the two launches
  // Not written by PermuteExperts but read by the products: [num_experts], where each expert's weights lie among those
  // of the launch; -1: nowhere, its entries are left alone. Null: expert e lies in place e.
  const int32_t* expert_place = nullptr;

  int64_t max_active_experts() const { return num_pairs < num_experts ? num_pairs : num_experts; }
  // Every expert with entries has at most one tile that is not full.
  int64_t max_tiles() const { return num_pairs / kExpertTileRows + max_active_experts(); }
  int64_t num_chunks() const { return (num_pairs + kExpertChunkPairs - 1) / kExpertChunkPairs; }
};

struct PermuteExpertsArgs {
  int64_t top_k = 0;
  int64_t first_slot = 0;          // slot first_slot + e is local expert e
  const int32_t* slots = nullptr;  // [num_pairs]
  const float* weights = nullptr;  // [num_pairs]
  ExpertPermutation permutation;   // num_pairs at least 1
};

void PermuteExperts(const PermuteExpertsArgs& args, Stream stream);

}  // namespace switchyard::cuda
