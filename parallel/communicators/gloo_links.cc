#include "parallel/communicators/gloo_links.h"

#include <gloo/common/error.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>
#include <pthread.h>
#include <signal.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace switchyard {
namespace {

using std::chrono::milliseconds;

// Gloo's store over ours; errors travel as exceptions through Gloo.
class GlooStore final : public ::gloo::rendezvous::Store {
 public:
  GlooStore(KeyValueStore& store, std::string prefix, absl::Time deadline)
      : store_(store), prefix_(std::move(prefix)), deadline_(deadline) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    Throw(store_.Set(prefix_ + key, std::string(data.data(), data.size())));
  }
  std::vector<char> get(const std::string& key) override {
    const absl::StatusOr<std::string> value = store_.Get(prefix_ + key, deadline_);
    Throw(value.status());
    return {value->begin(), value->end()};
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) get(key);
  }

 private:
  static void Throw(const absl::Status& status) {
    if (!status.ok()) throw ::gloo::IoException(std::string(status.message()));
  }

  KeyValueStore& store_;
  const std::string prefix_;
  const absl::Time deadline_;
};

}  // namespace

GlooBuffer::GlooBuffer(std::unique_ptr<::gloo::transport::UnboundBuffer> buffer) : buffer_(std::move(buffer)) {}
GlooBuffer::~GlooBuffer() = default;

absl::Status GlooBuffer::Send(int to, uint64_t slot, size_t bytes) {
  try {
    buffer_->send(to, slot, 0, bytes);
  } catch (const std::exception& error) {
    return absl::UnavailableError(error.what());
  }
  return absl::OkStatus();
}

absl::Status GlooBuffer::Receive(int from, uint64_t slot) {
  try {
    buffer_->recv(from, slot);
  } catch (const std::exception& error) {
    return absl::UnavailableError(error.what());
  }
  return absl::OkStatus();
}

GlooBuffer::Outcome GlooBuffer::Wait(Direction direction, milliseconds limit) {
  try {
    return {.done = direction == Direction::kSend ? buffer_->waitSend(limit) : buffer_->waitRecv(limit)};
  } catch (const std::exception& error) {
    return {.error = error.what()};
  }
}

void GlooBuffer::AbortWait(Direction direction) {
  if (direction == Direction::kSend) {
    buffer_->abortWaitSend();
  } else {
    buffer_->abortWaitRecv();
  }
}

absl::StatusOr<std::unique_ptr<GlooLinks>> GlooLinks::Connect(const GlooOptions& options, KeyValueStore& store) {
  BlockSigpipe();  // inherited by Gloo's thread
  try {
    std::shared_ptr<::gloo::transport::Device> device =
        ::gloo::transport::tcp::CreateDevice(::gloo::transport::tcp::attr(options.bind_address.c_str()));
    auto context = std::make_shared<::gloo::rendezvous::Context>(options.rank, options.size);
    context->setTimeout(milliseconds(absl::ToInt64Milliseconds(options.connect_timeout)));
    GlooStore gloo_store(store, absl::StrCat(options.group, "/"), absl::Now() + options.connect_timeout);
    context->connectFullMesh(gloo_store, device);
    return std::unique_ptr<GlooLinks>(new GlooLinks(std::move(context)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("gloo: rank ", options.rank, " at ", options.bind_address,
                                               " cannot connect to the other ranks: ", error.what()));
  }
}

std::unique_ptr<GlooBuffer> GlooLinks::Register(void* memory, size_t bytes) {
  return std::make_unique<GlooBuffer>(context_->createUnboundBuffer(memory, bytes));
}

void GlooLinks::Close() {
  try {
    context_->closeConnections();
  } catch (const std::exception&) {
    // Nothing is left to close.
  }
}

void BlockSigpipe() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

}  // namespace switchyard
