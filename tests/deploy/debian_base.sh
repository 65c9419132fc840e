#!/usr/bin/env bash
# Makes WORK_FOLDER/base.tar, a Debian 12 with nothing but its base (debootstrap, as root), unless it is there.
#   tests/deploy/debian_base.sh WORK_FOLDER
set -euo pipefail

work=$1
if [ ! -f "$work/base.tar" ]; then
  debootstrap --variant=minbase bookworm "$work/base" http://deb.debian.org/debian > "$work/debootstrap.log"
  tar -C "$work/base" --one-file-system -cf "$work/base.tar.part" .
  mv "$work/base.tar.part" "$work/base.tar"
  rm -rf "$work/base"
fi
