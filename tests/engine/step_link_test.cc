// One conformance test over both kinds of step link.
#include "engine/step_link.h"

#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "parallel/communicators/in_process.h"

namespace switchyard {
namespace {

enum class Kind { kShared, kRemote };

class StepLinkTest : public testing::TestWithParam<Kind> {
 protected:
  std::vector<std::unique_ptr<StepLink>> Links(int num_ranks) {
    if (GetParam() == Kind::kShared) return CreateSharedStepLinks(num_ranks);
    control_ = CreateInProcessCommunicators(num_ranks, absl::Seconds(30));
    std::vector<std::unique_ptr<StepLink>> links;
    for (const auto& control : control_) links.push_back(CreateRemoteStepLink(*control, absl::Seconds(5)));
    return links;
  }

  std::vector<std::unique_ptr<Communicator>> control_;
};

// Every other rank answers step s with one sample: index = rank, token id = 100 * s + the batch's first token.
StepOutput Answer(const Batch& batch, int rank) {
  StepOutput output;
  output.samples.push_back(
      {.index = rank, .token = {.id = static_cast<int32_t>(100 * batch.step) + batch.tokens.front()}});
  return output;
}

TEST_P(StepLinkTest, CarriesEveryBatchAndEveryOutputInRankOrder) {
  constexpr int kRanks = 3;
  const auto links = Links(kRanks);
  std::vector<std::thread> followers;
  for (int rank = 1; rank < kRanks; ++rank) {
    followers.emplace_back([&link = *links[rank], rank] {
      while (true) {
        const auto batch = link.Next();
        ASSERT_TRUE(batch.ok()) << batch.status();
        if (*batch == nullptr) return;
        ASSERT_TRUE(link.Return(Answer(**batch, rank)).ok());
      }
    });
  }
  for (uint64_t step = 0; step < 200; ++step) {
    auto batch = std::make_shared<Batch>();
    batch->step = step;
    batch->tokens.assign(1 + step % 7, static_cast<int32_t>(step % 50));
    ASSERT_TRUE(links[0]->Publish(batch).ok());
    const auto outputs = links[0]->Collect(Answer(*batch, 0));
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    ASSERT_EQ(outputs->size(), static_cast<size_t>(kRanks));
    for (int rank = 0; rank < kRanks; ++rank) {
      EXPECT_EQ((*outputs)[rank].samples.front().index, rank);
      EXPECT_EQ((*outputs)[rank].samples.front().token.id, static_cast<int32_t>(100 * step + step % 50));
    }
  }
  ASSERT_TRUE(links[0]->Publish(nullptr).ok());
  for (std::thread& follower : followers) follower.join();
}

TEST_P(StepLinkTest, AnErrorOfAnyRankReachesRankZero) {
  const auto links = Links(2);
  std::thread follower([&link = *links[1]] {
    ASSERT_TRUE(link.Next().ok());
    EXPECT_TRUE(link.Return(absl::ResourceExhaustedError("rank 1 has no memory left")).ok());
  });
  ASSERT_TRUE(links[0]->Publish(std::make_shared<Batch>()).ok());
  const auto outputs = links[0]->Collect(StepOutput());
  EXPECT_NE(outputs.status().message().find("rank 1 has no memory left"), std::string::npos) << outputs.status();
  follower.join();
}

INSTANTIATE_TEST_SUITE_P(BothKinds, StepLinkTest, testing::Values(Kind::kShared, Kind::kRemote),
                         [](const auto& info) { return info.param == Kind::kShared ? "Shared" : "Remote"; });

// Passes everything on, and flips a bit of what arrives by one Broadcast, or of what is sent by one AllToAllRows.
class FlippingCommunicator final : public Communicator {
 public:
  FlippingCommunicator(Communicator& inner, int flipped_broadcast, int flipped_send)
      : inner_(inner), flipped_broadcast_(flipped_broadcast), flipped_send_(flipped_send) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::string transport() const override { return inner_.transport(); }
  absl::Status Health() const override { return inner_.Health(); }
  absl::Status Barrier() override { return inner_.Barrier(); }
  absl::Status Broadcast(TensorView data, int root) override {
    absl::Status status = inner_.Broadcast(data, root);
    if (num_broadcasts_++ == flipped_broadcast_) static_cast<uint8_t*>(data.data())[data.bytes() - 1] ^= 1;
    return status;
  }
  absl::Status AllReduceSum(TensorView data) override { return inner_.AllReduceSum(data); }
  absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) override {
    return inner_.ReduceScatterSum(send, recv);
  }
  absl::Status AllGatherGroup(std::span<const Transfer> transfers) override { return inner_.AllGatherGroup(transfers); }
  absl::Status AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                 std::span<const int64_t> recv_rows) override {
    // The last byte of the head: of the hash.
    constexpr size_t kHashByte = 23;
    if (num_sends_++ == flipped_send_) {
      const_cast<uint8_t*>(static_cast<const uint8_t*>(transfers[0].send.data()))[kHashByte] ^= 1;
    }
    return inner_.AllToAllRowsGroup(transfers, send_rows, recv_rows);
  }
  void Abort(const absl::Status& reason) override { inner_.Abort(reason); }

 private:
  Communicator& inner_;
  const int flipped_broadcast_;
  const int flipped_send_;
  int num_broadcasts_ = 0;
  int num_sends_ = 0;
};

class Divergence : public testing::Test {
 protected:
  // Two steps with one follower, whose control messages are flipped; what the follower and rank 0 end with.
  void RunTwoSteps(int flipped_broadcast, int flipped_send) {
    const auto control = CreateInProcessCommunicators(2, absl::Seconds(30));
    FlippingCommunicator flipping(*control[1], flipped_broadcast, flipped_send);
    const auto leader = CreateRemoteStepLink(*control[0], absl::Seconds(5));
    std::thread thread([&] {
      const auto follower = CreateRemoteStepLink(flipping, absl::Seconds(5));
      for (int step = 0; step < 2 && follower_.ok(); ++step) {
        const auto batch = follower->Next();
        follower_ = batch.ok() ? follower->Return(Answer(**batch, 1)) : batch.status();
      }
      if (!follower_.ok()) flipping.Abort(follower_);
    });
    for (uint64_t step = 0; step < 2 && leader_.ok(); ++step) {
      auto batch = std::make_shared<Batch>();
      batch->step = step;
      batch->tokens = {1, 2, 3};
      leader_ = leader->Publish(batch);
      if (leader_.ok()) leader_ = leader->Collect(Answer(*batch, 0)).status();
    }
    thread.join();
  }

  absl::Status leader_;
  absl::Status follower_;
};

TEST_F(Divergence, ABatchThatDoesNotMatchItsHashIsRefused) {
  RunTwoSteps(/*flipped_broadcast=*/3, /*flipped_send=*/-1);  // of each batch: its size, then its bytes
  EXPECT_TRUE(absl::IsInternal(follower_)) << follower_;
  EXPECT_NE(follower_.message().find("rank 1 has diverged: it received what claims to be step 2"), std::string::npos)
      << follower_;
  EXPECT_FALSE(leader_.ok());
}

TEST_F(Divergence, AnAnswerToAnotherBatchIsRefused) {
  RunTwoSteps(/*flipped_broadcast=*/-1, /*flipped_send=*/1);
  EXPECT_TRUE(absl::IsInternal(leader_)) << leader_;
  EXPECT_NE(leader_.message().find("rank 1 has diverged: it answers step 2"), std::string::npos) << leader_;
}

TEST_F(Divergence, IsNotSeenWhereThereIsNone) {
  RunTwoSteps(-1, -1);
  EXPECT_TRUE(leader_.ok()) << leader_;
  EXPECT_TRUE(follower_.ok()) << follower_;
}

TEST(SharedStepLink, RankZeroDoesNotWaitForeverForARankThatHangsWhenItHasFailedItself) {
  const auto links = CreateSharedStepLinks(2);  // nobody serves the second
  ASSERT_TRUE(links[0]->Publish(std::make_shared<const Batch>()).ok());
  const auto outputs = links[0]->Collect(absl::DeadlineExceededError("rank 1 did not take part"));
  EXPECT_TRUE(absl::IsDeadlineExceeded(outputs.status())) << outputs.status();
}

}  // namespace
}  // namespace switchyard
