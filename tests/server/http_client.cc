#include "tests/server/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cctype>

#include "kernels/check.h"

namespace switchyard {

namespace {

void SetTimeLimit(int descriptor) {
  const timeval limit{.tv_sec = 120, .tv_usec = 0};
  setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

}  // namespace

HttpClient::HttpClient(uint16_t port, int receive_buffer) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
  CHECK_GE(socket_, 0);
  if (receive_buffer > 0) setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
  SetTimeLimit(socket_);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
}

HttpClient::HttpClient(const std::string& unix_path) : socket_(socket(AF_UNIX, SOCK_STREAM, 0)) {
  CHECK_GE(socket_, 0);
  SetTimeLimit(socket_);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  unix_path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  CHECK_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
}

HttpClient::~HttpClient() { Close(); }

bool HttpClient::StartTls(const std::string& ca_path, int max_version) {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_security_level(context, 0);  // else old versions fail at this end
  SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
  SSL_CTX_set_max_proto_version(context, max_version);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  CHECK_EQ(SSL_CTX_load_verify_locations(context, ca_path.c_str(), nullptr), 1);
  tls_ = SSL_new(context);
  SSL_CTX_free(context);
  SSL_set_fd(tls_, socket_);
  SSL_set1_host(tls_, "localhost");
  return SSL_connect(tls_) == 1;
}

void HttpClient::Close() {
  if (tls_ != nullptr) SSL_free(tls_);
  tls_ = nullptr;
  if (socket_ >= 0) close(socket_);
  socket_ = -1;
}

bool HttpClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = tls_ == nullptr ? send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL)
                                         : SSL_write(tls_, bytes.data(), static_cast<int>(bytes.size()));
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void HttpClient::SendRequest(const std::string& method, const std::string& path, const std::string& body,
                             const std::string& head) {
  std::string request = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + head;
  if (!body.empty()) {
    request += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  Send(request + "\r\n" + body);
}

HttpReply HttpClient::Get(const std::string& path, const std::string& head) {
  SendRequest("GET", path, "", head);
  return ReadReply();
}

HttpReply HttpClient::Post(const std::string& path, const std::string& body, const std::string& head) {
  SendRequest("POST", path, body, head);
  return ReadReply();
}

bool HttpClient::Fill() {
  char block[4096];
  const ssize_t size = tls_ == nullptr ? recv(socket_, block, sizeof(block), 0) : SSL_read(tls_, block, sizeof(block));
  if (size <= 0) return false;
  buffer_.append(block, static_cast<size_t>(size));
  return true;
}

std::string HttpClient::Take(size_t size) {
  while (buffer_.size() < size && Fill()) {
  }
  std::string taken = buffer_.substr(0, size);
  buffer_.erase(0, taken.size());
  return taken;
}

std::string HttpClient::ReadUntil(std::string_view mark) {
  size_t found;
  while ((found = buffer_.find(mark)) == std::string::npos) {
    if (!Fill()) return Take(buffer_.size());
  }
  return Take(found + mark.size());
}

bool HttpClient::AtEnd() { return buffer_.empty() && !Fill(); }

HttpReply HttpClient::ReadReply(bool head_only) {
  HttpReply reply;
  const std::string head = ReadUntil("\r\n\r\n");
  if (!head.ends_with("\r\n\r\n")) return reply;
  reply.status = std::stoi(head.substr(head.find(' ') + 1, 3));
  for (size_t line = head.find("\r\n") + 2; line < head.size() - 2; line = head.find("\r\n", line) + 2) {
    const size_t colon = head.find(": ", line);
    std::string name = head.substr(line, colon - line);
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    reply.headers[name] = head.substr(colon + 2, head.find("\r\n", line) - colon - 2);
  }
  if (head_only || reply.status == 204) {
    reply.complete = true;
  } else if (reply.headers.count("transfer-encoding") > 0) {
    while (true) {
      const std::string size_line = ReadUntil("\r\n");
      if (!size_line.ends_with("\r\n")) return reply;
      const size_t size = std::stoul(size_line, nullptr, 16);
      const std::string chunk = Take(size);
      if (chunk.size() < size || Take(2) != "\r\n") return reply;
      if (size == 0) break;
      reply.body += chunk;
      reply.chunks.push_back(chunk);
    }
    reply.complete = true;
  } else if (reply.headers.count("content-length") > 0) {
    const size_t size = std::stoul(reply.headers["content-length"]);
    reply.body = Take(size);
    reply.complete = reply.body.size() == size;
  } else {
    while (Fill()) {
    }
    reply.body = Take(buffer_.size());
    reply.complete = true;
  }
  return reply;
}

std::vector<std::string> EventsOf(std::string_view stream) {
  constexpr std::string_view kStart = "data: ";
  std::vector<std::string> events;
  while (!stream.empty()) {
    const size_t end = stream.find("\n\n");
    if (!stream.starts_with(kStart) || end == std::string_view::npos) {
      events.push_back("MALFORMED");
      break;
    }
    events.emplace_back(stream.substr(kStart.size(), end - kStart.size()));
    stream.remove_prefix(end + 2);
  }
  return events;
}

}  // namespace switchyard
