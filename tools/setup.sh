#!/usr/bin/env bash
# Installs the Debian 12 packages that Switchyard is built from, and only those that are missing.
set -euo pipefail

packages=(
  build-essential ccache cmake git ninja-build mold pkg-config
  libabsl-dev libboost1.81-dev libboost-context1.81-dev libdnnl-dev libgloo-dev libgrpc++-dev libhwy-dev libjemalloc-dev libpcre2-dev libprotobuf-dev libsentencepiece-dev
  libssl-dev libutf8proc-dev libcli11-dev libspdlog-dev nlohmann-json3-dev prometheus-cpp-dev protobuf-compiler protobuf-compiler-grpc
  libbenchmark-dev libgmock-dev libgtest-dev
  curl python3 python3-venv
)
# Continuous integration formats, lints and fuzzes as well, and tries what deploy/ ships.
if [ "${1:-}" = --ci ]; then
  packages+=(clang clang-format clang-tidy libclang-rt-dev prometheus systemd chromium chromium-driver iproute2)
fi

missing=()
for package in "${packages[@]}"; do
  if ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed'; then
    missing+=("$package")
  fi
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

if ! command -v apt-get >/dev/null; then
  echo "setup: this is not a Debian system; install the equivalents of: ${missing[*]}" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: run as root, or install sudo, to add these packages: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
