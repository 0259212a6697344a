#!/bin/bash
# Start Ray on plain hosts that you reach by ssh without a password.
#
#     cluster/machines/start.sh hosts
#
# `hosts` has a line each: HOST, then options of its own for `ray start`, such as --num-cpus=8 --num-gpus=2. The first is
# the head, where sweeps are started; # begins a comment. On each host mica is installed in the folder that it has here,
# or in the one that $MICA_BIN names. $MICA_SSH: how to reach them (ssh -o BatchMode=yes); $MICA_PORT: the head's (6390).
set -euo pipefail

hosts=${1:?"usage: $0 HOSTS, a file with one host a line"}
bin=${MICA_BIN:-$(dirname "$(command -v mica-sweep)")}
ssh=${MICA_SSH:-ssh -o BatchMode=yes}
port=${MICA_PORT:-6390}
mine=$HOME/.mica-cluster

# Whoever has the token runs code on all hosts.
(umask 077 && mkdir -p "$mine" && { [ -s "$mine/token" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$mine/token"; })

address_of() { getent ahostsv4 "$1" | awk '{print $1; exit}'; }

# start_on HOST OPTION…: returns when Ray runs there.
start_on() {
  local host=$1
  shift
  # The token goes with the script: a command's arguments are for all to read.
  # shellcheck disable=SC2086  # $ssh is a command with its options
  { printf 'token=%s\n' "$(cat "$mine/token")"; cat <<'REMOTE'; } | $ssh "$host" bash -s -- "$host" "$bin" "$@"
set -euo pipefail
umask 077
host=$1 bin=$2
shift 2
folder=$HOME/.mica-cluster/$host
if [ -e "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null; then
  echo "$host: Ray runs there already; cluster/machines/stop.sh ends it" >&2
  exit 1
fi
mkdir -p "$folder"
printf %s "$token" >"$HOME/.mica-cluster/token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.mica-cluster/token RAY_USAGE_STATS_ENABLED=0
export PATH=$bin:$PATH
setsid ray start --block "$@" >"$folder/ray.log" 2>&1 </dev/null &
echo $! >"$folder/pid"
for _ in $(seq 120); do
  grep -q 'Ray runtime started' "$folder/ray.log" && exit 0
  kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
  sleep 0.5
done
echo "$host: Ray does not start; the end of $folder/ray.log there:" >&2
tail -n 5 "$folder/ray.log" >&2
exit 1
REMOTE
}

head=
while read -r host options; do
  case $host in '' | \#*) continue ;; esac
  where=(--node-ip-address="$(address_of "$host")" --temp-dir="/tmp/mica-$(id -un)-$host")
  if [ -z "$head" ]; then
    head=$(address_of "$host"):$port
    where+=(--head --port="$port" --include-dashboard=false)
  else
    where+=(--address="$head")
  fi
  # shellcheck disable=SC2086  # a line's options are words
  start_on "$host" "${where[@]}" ${options%%#*}
  echo "$host: Ray runs"
done <"$hosts"

cat <<SAID

On the first host, with the sweep's file and a storage that all of them reach:

    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/.mica-cluster/token RAY_ADDRESS=$head
    mica-sweep doctor sweeps/quickstart.yaml
    mica-sweep run sweeps/quickstart.yaml
SAID
