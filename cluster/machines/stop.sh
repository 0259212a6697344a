#!/bin/bash
# End what start.sh has started on these hosts, and nothing else; sweeps go on when the same line is typed again.
#
#     cluster/machines/stop.sh hosts
set -euo pipefail

hosts=${1:?"usage: $0 HOSTS, the file that start.sh was given"}
ssh=${MICA_SSH:-ssh -o BatchMode=yes}

stop_on() {
  # shellcheck disable=SC2086  # $ssh is a command with its options
  $ssh "$1" bash -s -- "$1" <<'REMOTE'
set -u
folder=$HOME/.mica-cluster/$1
[ -e "$folder/pid" ] || { echo "$1: nothing runs"; exit 0; }
pid=$(cat "$folder/pid")
# The whole session: Ray's processes, and those of trials, which save what they have come to.
pkill -TERM -s "$pid"
for _ in $(seq 60); do
  pgrep -s "$pid" >/dev/null || break
  sleep 0.5
done
pkill -KILL -s "$pid"
rm -rf "$folder" "/tmp/mica-$(id -un)-$1"
echo "$1: ended"
REMOTE
}

# The head last: the others could not take their leave of it.
grep -v -e '^ *#' -e '^ *$' "$hosts" | tac | while read -r host _; do stop_on "$host" </dev/null; done
