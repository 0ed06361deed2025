#!/usr/bin/env bash
# Installs the package into a fresh environment with pip and uses it: the Python blocks of README and docs/notebooks.md,
# tests/python/api.py, and the type checkers. Not part of the default run: it builds the program once more and fetches
# maturin, pandas, polars, duckdb, safetensors, mypy and pyright. `tests/python.sh WHEEL` installs that wheel instead;
# TORCH=1 fetches torch, too.
set -euo pipefail
cd "$(dirname "$0")/.."
package=${1:-.}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
python="$work/venv/bin/python"
"$work/venv/bin/pip" install --quiet "$package"
ln -s "$PWD/fixtures" "$work/fixtures"
blocks() { awk '/^```python$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$1"; }
# The README's example needs nothing but the wheel.
blocks README.md >"$work/readme.py"
begun=$(date +%s%N)
(cd "$work" && "$python" readme.py && test -s report.html)
took=$((($(date +%s%N) - begun) / 1000000))
echo "the README's example took $took ms"
[ "$took" -lt 10000 ]
"$work/venv/bin/pip" install --quiet numpy pandas polars duckdb safetensors mypy pyright pandas-stubs ${TORCH:+torch}

"$work/venv/bin/svdkit" spectrum fixtures/charlm/base --quiet -o "$work/report.jsonl" -o "$work/report.csv" >"$work/table"
"$python" -m svdkit --version
test -s "$work/venv/share/man/man1/svdkit.1" && test -s "$work/venv/share/man/man1/svdkit-spectrum.1"
"$work/venv/bin/svdkit" spectrum fixtures/formats/tied.safetensors --quiet -o "$work/zeros.json" >"$work/zeros"
cp fixtures/reports/zeros.json "$work/zeros-1.json"
blocks docs/notebooks.md >"$work/notebook.py"
cat >>"$work/notebook.py" <<'PYTHON'

table = pandas.DataFrame(svdkit.read_report("report.json"))
assert len(table) == 30 and table["rows"].min() == 64, table
assert abs(table.set_index("name").loc["lm_head", "spectral_norm"] - spectra["lm_head"][0]) == 0
assert pandas.DataFrame(svdkit.read_report("report.jsonl"))["alpha"].tolist() == table["alpha"].tolist()
for old, new in zip(svdkit.read_report("zeros-1.json"), svdkit.read_report("zeros.json")):
    codes = lambda row: {key: why["code"] for key, why in row.get("missing", {}).items()}
    flags = lambda row: [flag["code"] for flag in row.get("flags", [])]
    assert (codes(old), flags(old)) == (codes(new), flags(new)), (old, new)
try:
    svdkit.read_report("table")
    raise SystemExit("a table was taken for a report")
except ValueError as error:
    assert "is not a svdkit report" in str(error), error
PYTHON
(cd "$work" && "$python" notebook.py)
"$python" tests/python/api.py
"$work/venv/bin/mypy" --strict --ignore-missing-imports src/python/svdkit tests/python/typed.py
"$work/venv/bin/pyright" --pythonpath "$python" src/python/svdkit tests/python/typed.py
echo "the package works"
