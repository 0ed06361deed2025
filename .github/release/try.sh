#!/usr/bin/env bash
# try.sh WHEEL: installs a wheel into an empty environment and uses it.
set -euo pipefail
wheel=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python -m venv "$work/venv"
programs=$work/venv/bin
if [ -d "$work/venv/Scripts" ]; then programs=$work/venv/Scripts; fi
"$programs/python" -m pip install --quiet --no-deps --no-index "$wheel"
"$programs/svdkit" --version
"$programs/python" -m svdkit --version
"$programs/svdkit" spectrum "$root/fixtures/charlm/base" --quiet -o "$work/report.json" >"$work/table"
"$programs/svdkit" compare "$work/report.json" "$root/fixtures/charlm/base" --fail-if 'changed > 0' >"$work/table"
"$programs/python" -c "
import sys
import svdkit
assert len(list(svdkit.read_report(sys.argv[1]))) == 30" "$work/report.json"
test -s "$work/venv/share/man/man1/svdkit.1"
test -s "$work/venv/share/doc/svdkit/THIRD-PARTY.txt"
echo "the wheel works"
