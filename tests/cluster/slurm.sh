#!/bin/bash
# Runs `svdkit plan --emit slurm` on a cluster of two virtual nodes on this host, disturbs it, and compares what is collected
# with the report of a single run. Needs root, Python 3 and Debian's packages slurmctld, slurmd, slurm-client and munge:
#
#   bash tests/cluster/slurm.sh target/release/svdkit
#
# What happens: several tasks on a node, more parts than elements of the array, a worker killed with -9, a node drained, an
# element requeued by hand and one by the signal before its time limit; afterwards a stale part and a missing part.
set -euo pipefail
SVDKIT=$(realpath "${1:?the program to test}")
export SVDKIT
here=$(realpath "$(dirname "$0")")
state=$(mktemp -d)
mkdir -p "$state"/{state,log,work} && chmod 755 "$state"
export SLURM_CONF=$state/slurm.conf
pids=()
say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
end() {
  for pid in "${pids[@]}" $(cat "$state"/*.pid 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
}
trap end EXIT

sed "s|@HOST@|$(hostname)|; s|@STATE@|$state|g" "$here/slurm.conf" > "$SLURM_CONF"
dd if=/dev/urandom of="$state/munge.key" bs=1024 count=1 status=none && chmod 400 "$state/munge.key"
munged --foreground --force --key-file="$state/munge.key" --socket="$state/munge.socket" \
  --pid-file="$state/munged.pid" --log-file="$state/log/munged.log" --seed-file="$state/munge.seed" >"$state/log/munged.out" 2>&1 &
pids+=($!)
sleep 1
slurmctld -D -c >"$state/log/ctld.out" 2>&1 &
pids+=($!)
for node in n1 n2; do
  slurmd -D -N "$node" >"$state/log/$node.out" 2>&1 &
  pids+=($!)
done
for _ in $(seq 30); do
  [ "$(sinfo -h -o '%T %D' 2>/dev/null)" = "idle 2" ] && break
  sleep 1
done
say "cluster: $(sinfo -h -o '%D nodes %T') · $(scontrol --version)"

cd "$state/work"
python3 "$here/model.py" model.safetensors 50 512 512
# Long enough to be disturbed; a release build takes more windows.
measure=(farms model.safetensors --window 256 --windows-per-dim "${WINDOWS:-13}")
"$SVDKIT" "${measure[@]}" --format json -o single.html -q >single.json
command=("${measure[@]}" --format json -o report.html --ledger parts)
"$SVDKIT" plan --partitions 10 --emit slurm -- "${command[@]}" >parts.sh
TASKS=2 bash parts.sh --cpus-per-task=1 >submitted
array=$(awk '/parts:/ { print $3 }' submitted) collect=$(awk '/report:/ { print $3 }' submitted)
say "submitted: 10 parts in job $array, 2 tasks in each of $(squeue -h -r -j "$array" | wc -l) elements; collect in job $collect"

# A svdkit that writes into this ledger.
worker() { pgrep -f -- "farms model.safetensors .*--ledger parts .*--partition" | head -1; }
line() { tr '\0' ' ' <"/proc/$1/cmdline" | sed "s|$SVDKIT|svdkit|"; }
runs() { [ -n "$(squeue -h -r -j "$array" -o %i)" ] || { say "nothing runs any more"; return 1; }; }
killed=
while [ -z "$killed" ]; do
  runs
  # In mid-run: it has found something, and not all.
  pid=$(worker) && words=$(line "$pid") && part=${words##*--partition } && part=${part%%/*} &&
    [ "$(wc -l <"parts/part-$part-of-10.jsonl")" -gt 2 ] && kill -9 "$pid" 2>/dev/null && killed=$words || sleep 0.1
done
say "killed -9: $killed"
# An element that runs, until one takes it.
disturb() {
  local element
  while ! { element=$(squeue -h -r -t R -j "$array" -o %i | sort -V | tail -1) && [ -n "$element" ] && "$@" "$element" 2>/dev/null; }; do
    runs
    sleep 0.2
  done
  disturbed=$element
}
disturb scontrol requeue
say "requeued by hand: element $disturbed"
scontrol update NodeName=n2 State=DRAIN Reason=test
say "drained n2: $(sinfo -h -o '%N %T' | tr '\n' ' ')"
disturb scancel --signal=USR1 --batch
say "signal before the time limit: element $disturbed"
sleep 3
scontrol update NodeName=n2 State=RESUME
say "resumed n2"
for _ in $(seq 900); do
  [ -z "$(squeue -h -j "$collect" -t PD,R,CG 2>/dev/null)" ] && break
  sleep 1
done
say "restarts: $(for job in $(scontrol show job "$array" | awk -F'[= ]' '/^JobId/ { print $2 }'); do
  scontrol show job "$job" | awk -F'[= ]+' '{ for (i = 1; i < NF; i++) if ($i == "Restarts") printf "%s ", $(i + 1) }'; done)"
cat slurm-"$array"_*.out | grep -v 'makes the report of all parts' | sed 's/^/    /' || true
grep -v '^wrote report.html' "slurm-$collect.out" | cmp - single.json
cmp report.html single.html
say "collected: the bytes of a single run, JSON and HTML"

# A part of another plan in its place.
"$SVDKIT" farms model.safetensors --window 128 --windows-per-dim 3 --ledger other --partition 3/10 -q
mv parts/part-3-of-10.jsonl aside
cp other/part-3-of-10.jsonl parts/
code=0; "$SVDKIT" collect parts >stale.out 2>stale.err || code=$?
say "stale part: exit $code: $(cat stale.err)"
[ "$code" = 2 ] && grep -q 'part-3-of-10.jsonl: was made otherwise' stale.err

# A part that is not there.
rm parts/part-3-of-10.jsonl
code=0; "$SVDKIT" collect parts >missing.out 2>missing.err || code=$?
say "missing part: exit $code: $(cat missing.err)"
[ "$code" = 2 ] && [ ! -s missing.out ]
line=$(sed -n 's/.*to make it: svdkit //p' missing.err)
eval "$SVDKIT $line -q"
"$SVDKIT" collect parts -q >again.json
cmp again.json single.json && cmp report.html single.html
say "made by the command that was named, collected: the bytes of a single run"
