#include "server/access/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

// 0, or why nobody could be reached there.
int ConnectError(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return errno;
  const int error = connect(probe, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
  close(probe);
  return error;
}

}  // namespace

absl::Status ClaimUnixSocket(const std::string& path) {
  const std::filesystem::path directory = std::filesystem::path(path).parent_path();
  std::error_code ignored;
  if (!std::filesystem::is_directory(directory, ignored)) {
    return absl::NotFoundError(absl::StrCat("unix:", path, ": the directory ", directory.string(), " does not exist"));
  }
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return absl::PermissionDeniedError(absl::StrCat("unix:", path, ": ", std::strerror(errno)));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return absl::AlreadyExistsError(
        absl::StrCat("unix:", path, ": is there already and is no socket; choose another path or remove it"));
  }
  // Only a refusal says that nobody listens; a listener with a full backlog (EAGAIN) is alive.
  const int error = ConnectError(path);
  if (error != ECONNREFUSED) {
    return absl::AlreadyExistsError(absl::StrCat(
        "unix:", path, ": ", error == 0 || error == EAGAIN ? "another server listens there" : std::strerror(error),
        "; stop it or choose another path"));
  }
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("unix:", path, ": a socket left behind cannot be removed: ", std::strerror(errno)));
}

}  // namespace switchyard
