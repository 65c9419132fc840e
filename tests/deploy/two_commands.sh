#!/usr/bin/env bash
# What a newcomer types on a bare Debian 12, in the clone that holds this script. Called by bare_root.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates git make

set -m  # the server gets a process group, as in a terminal
make serve &
serve=$!
question=$(sed -n 's/^ *\(curl http:.*v1\/chat\/completions .*\)/\1/p' README.md | head -n 1)
begin=$SECONDS
until answer=$(eval "$question" --silent --fail); do
  kill -0 "$serve" || { echo "make serve has ended"; exit 1; }
  sleep 1
done
echo "make serve answers after $((SECONDS - begin)) s: $answer"
[[ $answer == *19* ]]
kill -INT -- "-$serve"
wait "$serve" || true  # make says that it was interrupted
if eval "$question" --silent --fail; then
  echo "make serve outlives Ctrl-C"
  exit 1
fi

begin=$SECONDS
make test
echo "make test has passed after $((SECONDS - begin)) s"
