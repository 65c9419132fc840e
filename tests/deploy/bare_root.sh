#!/usr/bin/env bash
# The README's two commands where nothing is installed but Debian's base, git and make: `make serve` has to answer the
# README's curl, `make test` has to pass. In a chroot, of the last commit. As root; needs debootstrap and unshare.
#   [CCACHE_DIR=...] tests/deploy/bare_root.sh [WORK_FOLDER]
# With CCACHE_DIR that compiler cache is used; without it the build takes as long as a newcomer's first.
set -euo pipefail

inside() {  # in a mount and process namespace of its own, which end with it
  local root=$1
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  if [ -n "${CCACHE_DIR:-}" ]; then
    mkdir -p "$root/root/.cache/ccache"
    mount --bind "$CCACHE_DIR" "$root/root/.cache/ccache"
  fi
  # How this machine reaches the outside is all of its environment that the root gets.
  local passed=()
  for name in http_proxy https_proxy no_proxy PIP_INDEX_URL PIP_CERT; do
    [ -z "${!name:-}" ] || passed+=("$name=${!name}")
  done
  exec env -i "${passed[@]}" HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    CCACHE_BASEDIR=/src CCACHE_NOHASHDIR=1 chroot "$root" bash /src/tests/deploy/two_commands.sh
}

if [ "${1:-}" = --inside ]; then
  inside "$2"
fi

source_dir=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:-$(mktemp -d)}
mkdir -p "$work"
"$source_dir/tests/deploy/debian_base.sh" "$work"

root=$work/bare_root
rm -rf "$root"
mkdir "$root"
tar -C "$root" -xf "$work/base.tar"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
cp -r /usr/local/share/ca-certificates "$root/usr/local/share/"
git clone -q --no-hardlinks "$source_dir" "$root/src"
exec unshare --mount --pid --fork --kill-child "$0" --inside "$root"
