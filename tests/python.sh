#!/usr/bin/env bash
# Installs the package into a fresh environment with pip and uses it as a notebook would: the Python blocks of
# docs/notebooks.md, and what they leave out. Not part of the default run: it builds the program once more and fetches
# maturin, pandas, polars, duckdb and safetensors.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet . pandas polars duckdb safetensors numpy
"$work/venv/bin/svdkit" spectrum fixtures/charlm/base --quiet --singular-values "$work/spectra.safetensors" \
    -o "$work/report.json" -o "$work/report.jsonl" -o "$work/report.csv" >"$work/table"
"$work/venv/bin/python" -m svdkit --version
test -s "$work/venv/share/man/man1/svdkit.1" && test -s "$work/venv/share/man/man1/svdkit-spectrum.1"
"$work/venv/bin/svdkit" spectrum fixtures/formats/tied.safetensors --quiet -o "$work/zeros.json" >"$work/zeros"
cp fixtures/reports/zeros.json "$work/zeros-1.json"
awk '/^```python$/ { inside = 1; next } /^```$/ { inside = 0 } inside' docs/notebooks.md >"$work/notebook.py"
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
(cd "$work" && "$work/venv/bin/python" notebook.py)
echo "the package works"
