#include "tests/parallel/communicators/group_factory.h"

#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "parallel/communicators/gloo.h"
#include "parallel/communicators/in_process.h"
#include "parallel/rendezvous.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {

std::string TransportName(Transport transport) {
  return transport == Transport::kInProcess ? "SharedMemory" : "GlooThreads";
}

std::unique_ptr<Communicator> JoinGlooGroup(int port, int rank, int size, absl::Duration timeout) {
  const auto client = ConnectRendezvous("127.0.0.1", port, absl::Now() + absl::Minutes(2));
  EXPECT_TRUE(client.ok()) << client.status();
  if (!client.ok()) return nullptr;
  auto communicator = CreateGlooCommunicator({.rank = rank,
                                              .size = size,
                                              .group = "test",
                                              .bind_address = (*client)->local_address(),
                                              .connect_timeout = absl::Minutes(2),
                                              .collective_timeout = timeout},
                                             **client);
  EXPECT_TRUE(communicator.ok()) << communicator.status();
  return communicator.ok() ? *std::move(communicator) : nullptr;
}

std::vector<std::unique_ptr<Communicator>> MakeGroup(Transport transport, int size, absl::Duration timeout) {
  if (transport == Transport::kInProcess) return CreateInProcessCommunicators(size, timeout);
  const auto server = StartRendezvousServer("127.0.0.1", 0);
  EXPECT_TRUE(server.ok()) << server.status();
  std::vector<std::unique_ptr<Communicator>> group(size);
  RunRanks(size, [&](int rank) { group[rank] = JoinGlooGroup((*server)->port(), rank, size, timeout); });
  return group;
}

}  // namespace switchyard
