// A plain blocking HTTP/1.1 client over a raw socket, that can misbehave as the test likes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

struct ssl_st;  // OpenSSL's

namespace switchyard {

struct HttpReply {
  int status = 0;                              // 0: the connection ended before a whole reply
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined
  std::vector<std::string> chunks;
  bool complete = false;  // the body came to its declared end
};

// Not thread-safe. A read that waits for 20 seconds ends the connection, so that a failing test ends too.
class HttpClient {
 public:
  // `receive_buffer`: SO_RCVBUF in bytes; 0: the kernel's choice.
  explicit HttpClient(uint16_t port, int receive_buffer = 0);
  // Over a unix socket.
  explicit HttpClient(const std::string& unix_path);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Goes on over TLS, if the server's certificate is of one of the authorities in `ca_path` (PEM) and the version at
  // most `max_version` (OpenSSL's constant; 0: any).
  bool StartTls(const std::string& ca_path, int max_version = 0);

  // False once the server has closed.
  bool Send(std::string_view bytes);
  // `method` is the request line's; `head` are further header lines, each with its end.
  void SendRequest(const std::string& method, const std::string& path, const std::string& body = "",
                   const std::string& head = "");
  HttpReply ReadReply(bool head_only = false);
  HttpReply Get(const std::string& path, const std::string& head = "");
  HttpReply Post(const std::string& path, const std::string& body, const std::string& head = "");
  // Everything up to and including `mark`; what came before the end if the connection ended.
  std::string ReadUntil(std::string_view mark);
  // True when the server has closed and nothing is left to read.
  bool AtEnd();
  void Close();

 private:
  bool Fill();
  std::string Take(size_t size);

  int socket_ = -1;
  ssl_st* tls_ = nullptr;  // owned; null: plain
  std::string buffer_;     // received, not yet taken
};

// The data of each event of a stream. What is not of the form "data: …\n\n" is an event "MALFORMED".
std::vector<std::string> EventsOf(std::string_view stream);

}  // namespace switchyard
