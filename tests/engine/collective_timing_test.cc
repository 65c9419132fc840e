#include "engine/collective_timing.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <utility>

#include "kernels/check.h"

namespace switchyard {
namespace {

// A communicator of one rank through which the result of one collective arrives with one wrong byte.
class LoneCommunicator final : public Communicator {
 public:
  LoneCommunicator(Backend& backend, std::string corrupt, DType dtype)
      : backend_(backend), corrupt_(std::move(corrupt)), dtype_(dtype) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string transport() const override { return "none"; }
  absl::Status Health() const override { return absl::OkStatus(); }
  void BeginStep() override { ++open_steps_; }
  absl::Status EndStep() override {
    --open_steps_;
    return absl::OkStatus();
  }
  absl::Status Barrier() override { return absl::OkStatus(); }
  absl::Status Broadcast(TensorView, int) override { return absl::OkStatus(); }
  absl::Status AllReduceSum(TensorView data) override { return Deliver("all_reduce", data, data); }
  absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) override {
    return Deliver("reduce_scatter", send, recv);
  }
  absl::Status AllGatherGroup(std::span<const Transfer> transfers) override {
    return Deliver("all_gather", transfers.front().send, transfers.front().recv);
  }
  absl::Status AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                 std::span<const int64_t> recv_rows) override {
    CHECK_EQ(send_rows[0], transfers.front().send.dim(0));
    CHECK_EQ(recv_rows[0], transfers.front().recv.dim(0));
    return Deliver("all_to_all", transfers.front().send, transfers.front().recv);
  }
  void Abort(const absl::Status&) override {}

 private:
  absl::Status Deliver(const std::string& name, ConstTensorView send, TensorView recv) {
    CHECK_EQ(open_steps_, 1);
    CHECK(send.dtype() == dtype_);
    std::vector<std::byte> bytes(send.bytes());
    absl::Status status = backend_.CopyToHost(send, TensorView(bytes.data(), send.dtype(), send.shape()));
    if (name == corrupt_) bytes.back() ^= std::byte{0x10};
    status.Update(backend_.CopyFromHost(ConstTensorView(bytes.data(), recv.dtype(), recv.shape()), recv));
    return status;
  }

  Backend& backend_;
  const std::string corrupt_;
  const DType dtype_;
  int open_steps_ = 0;
};

TEST(CollectiveTiming, NamesTheCollectiveWhoseResultIsWrong) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    const std::unique_ptr<Backend> backend = *CreateCudaBackend({.activation_dtype = dtype});
    for (const std::string corrupt : {"", "all_to_all", "all_gather", "reduce_scatter", "all_reduce"}) {
      LoneCommunicator communicator(*backend, corrupt, dtype);
      const absl::StatusOr<std::vector<CollectiveTiming>> timings =
          TimeCollectives({.small_bytes = 64, .large_bytes = 6'400}, *backend, communicator);
      ASSERT_TRUE(timings.ok()) << timings.status();
      ASSERT_EQ(timings->size(), 4u);
      for (const CollectiveTiming& timing : *timings) {
        EXPECT_EQ(timing.intact, timing.name != corrupt) << timing.name << " of " << Name(dtype);
      }
    }
  }
}

TEST(CollectiveTiming, MeasuresWholeRowsForEveryRank) {
  const CollectiveSizes sizes = RoundUpToRows({.small_bytes = 10'000, .large_bytes = 20'000'000}, 3);
  EXPECT_EQ(sizes.small_bytes % (3 * 32), 0);
  EXPECT_GE(sizes.small_bytes, 10'000);
  EXPECT_LT(sizes.small_bytes, 10'000 + 3 * 32);
  EXPECT_EQ(sizes.large_bytes % (3 * 32), 0);
  const CollectiveSizes again = RoundUpToRows(sizes, 3);
  EXPECT_EQ(again.small_bytes, sizes.small_bytes);
  EXPECT_EQ(again.large_bytes, sizes.large_bytes);
}

}  // namespace
}  // namespace switchyard
