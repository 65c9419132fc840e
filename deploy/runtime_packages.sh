#!/usr/bin/env bash
# Prints the Debian packages that hold the shared libraries of a binary, a line each.
#   deploy/runtime_packages.sh build/switchyard
set -euo pipefail

ldd "$1" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | while read -r library; do
  # dpkg knows a file by the path it was packed with: /lib and /usr/lib are one folder today.
  for path in "$library" "$(readlink -f "$library")" "/usr$library" "${library#/usr}"; do
    if owner=$(dpkg-query -S "$path" 2>/dev/null); then
      echo "${owner%%:*}"
      break
    fi
  done
done | sort -u
