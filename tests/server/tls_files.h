// Certificates made for a test: an authority, a server's for localhost, a client's.
#pragma once

#include <filesystem>
#include <string>

namespace switchyard {

// Files in a directory of its own, removed when destroyed.
class TlsFiles {
 public:
  TlsFiles();
  ~TlsFiles();
  TlsFiles(const TlsFiles&) = delete;
  TlsFiles& operator=(const TlsFiles&) = delete;

  std::string path(const std::string& name) const { return directory_ / name; }
  std::string ca() const { return path("ca.pem"); }
  std::string cert() const { return path("server.pem"); }
  std::string key() const { return path("server.key"); }
  std::string client_cert() const { return path("client.pem"); }
  std::string client_key() const { return path("client.key"); }

  // Other certificates of another authority, in place of these.
  void Renew();

 private:
  std::filesystem::path directory_;
};

std::string ReadText(const std::string& path);

}  // namespace switchyard
