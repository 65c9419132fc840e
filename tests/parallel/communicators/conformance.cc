#include "tests/parallel/communicators/conformance.h"

#include <gtest/gtest.h>

#include <bit>
#include <numeric>
#include <vector>

namespace switchyard {
namespace {

// Elements of a tensor: none, less than one per rank, small, beyond one envelope of Gloo's, and large and odd.
constexpr int64_t kSizes[] = {0, 1, 3, 1000, 40000, 300007};

// Sums of these in another order give other bits.
float Value(int rank, int64_t i) { return 1.0f / static_cast<float>(1 + (i * 31 + rank * 17) % 1009); }

float SumInRankOrder(int size, int64_t i) {
  float sum = Value(0, i);
  for (int rank = 1; rank < size; ++rank) sum += Value(rank, i);
  return sum;
}

std::vector<float> Values(int rank, int64_t begin, int64_t n) {
  std::vector<float> values(n);
  for (int64_t i = 0; i < n; ++i) values[i] = Value(rank, begin + i);
  return values;
}

TensorView View(std::vector<float>& values) { return TensorView::Of(std::span(values)); }
TensorView Rows(std::vector<float>& values, int64_t rows, int64_t width) {
  return TensorView::Of(std::span(values), {rows, width});
}
TensorView Rows(std::vector<int32_t>& values, int64_t rows, int64_t width) {
  return TensorView::Of(std::span(values), {rows, width});
}

// Compares bits, and says where the first difference is rather than printing both vectors.
void ExpectSameBits(const std::vector<float>& got, const std::vector<float>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(expected[i])) << "at " << i;
  }
}

// Rows from `from` to `to` in a round: some pairs none, some many.
int64_t NumRows(int from, int to, int round) {
  if (round == 0) return 0;
  if (round == 4) return to == 0 ? 500 : 0;
  return (from * 7 + to * 3 + round) % 5 * round * round;
}

}  // namespace

void CheckBarrier(Communicator& communicator) {
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(communicator.Barrier().ok());
}

void CheckBroadcast(Communicator& communicator) {
  for (const int64_t n : kSizes) {
    for (int root = 0; root < communicator.size(); ++root) {
      std::vector<float> data = Values(communicator.rank(), 0, n);
      ASSERT_TRUE(communicator.Broadcast(View(data), root).ok());
      ExpectSameBits(data, Values(root, 0, n));
    }
  }
}

void CheckAllReduceSum(Communicator& communicator) {
  for (const int64_t n : kSizes) {
    std::vector<float> data = Values(communicator.rank(), 0, n);
    ASSERT_TRUE(communicator.AllReduceSum(View(data)).ok());
    std::vector<float> expected(n);
    for (int64_t i = 0; i < n; ++i) expected[i] = SumInRankOrder(communicator.size(), i);
    ExpectSameBits(data, expected);
  }
}

void CheckReduceScatterSum(Communicator& communicator) {
  for (const int64_t n : kSizes) {
    std::vector<float> send = Values(communicator.rank(), 0, n * communicator.size());
    std::vector<float> recv(n);
    ASSERT_TRUE(communicator.ReduceScatterSum(View(send), View(recv)).ok());
    std::vector<float> expected(n);
    for (int64_t i = 0; i < n; ++i) expected[i] = SumInRankOrder(communicator.size(), communicator.rank() * n + i);
    ExpectSameBits(recv, expected);
  }
}

void CheckAllGather(Communicator& communicator) {
  const int size = communicator.size();
  for (const int64_t n : kSizes) {
    std::vector<float> send = Values(communicator.rank(), 0, n * 2);
    std::vector<int32_t> send_tags(n, communicator.rank());
    std::vector<float> recv(n * 2 * size);
    std::vector<int32_t> recv_tags(n * size, -1);
    const Transfer transfers[] = {{Rows(send, n, 2), Rows(recv, n * size, 2)},
                                  {Rows(send_tags, n, 1), Rows(recv_tags, n * size, 1)}};
    ASSERT_TRUE(communicator.AllGatherGroup(transfers).ok());
    std::vector<float> expected;
    for (int rank = 0; rank < size; ++rank) {
      const std::vector<float> block = Values(rank, 0, n * 2);
      expected.insert(expected.end(), block.begin(), block.end());
    }
    ExpectSameBits(recv, expected);
    for (int64_t i = 0; i < n * size; ++i) ASSERT_EQ(recv_tags[i], i / n);
  }
}

void CheckAllToAllRows(Communicator& communicator) {
  const int size = communicator.size();
  const int me = communicator.rank();
  constexpr int64_t kWidth = 33;
  for (int round = 0; round < 12; ++round) {
    std::vector<int64_t> send_rows(size), recv_rows(size);
    std::vector<int32_t> send_tags, expected_tags;
    std::vector<float> send, expected;
    for (int r = 0; r < size; ++r) {
      send_rows[r] = NumRows(me, r, round);
      recv_rows[r] = NumRows(r, me, round);
      const std::vector<float> to = Values(me, 1000 * r, send_rows[r] * kWidth);
      const std::vector<float> from = Values(r, 1000 * me, recv_rows[r] * kWidth);
      send.insert(send.end(), to.begin(), to.end());
      expected.insert(expected.end(), from.begin(), from.end());
      send_tags.insert(send_tags.end(), send_rows[r], me * 100 + r);
      expected_tags.insert(expected_tags.end(), recv_rows[r], r * 100 + me);
    }
    const int64_t num_sent = static_cast<int64_t>(send_tags.size());
    const int64_t num_received = static_cast<int64_t>(expected_tags.size());
    std::vector<float> recv(num_received * kWidth);
    std::vector<int32_t> recv_tags(num_received, -1);
    const Transfer transfers[] = {{Rows(send, num_sent, kWidth), Rows(recv, num_received, kWidth)},
                                  {Rows(send_tags, num_sent, 1), Rows(recv_tags, num_received, 1)}};
    ASSERT_TRUE(communicator.AllToAllRowsGroup(transfers, send_rows, recv_rows).ok());
    ExpectSameBits(recv, expected);
    ASSERT_EQ(recv_tags, expected_tags);
  }
}

void CheckAllCollectives(Communicator& communicator) {
  CheckBarrier(communicator);
  CheckBroadcast(communicator);
  CheckAllReduceSum(communicator);
  CheckReduceScatterSum(communicator);
  CheckAllGather(communicator);
  CheckAllToAllRows(communicator);
}

}  // namespace switchyard
