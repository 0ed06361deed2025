"""How often each finding speaks, on trained models and on random ones: the figures of docs/findings.md.

    python3 tests/findings_rates.py target/release/svdkit MODEL ...

MODELs are checkpoints that svdkit reads, trained ones. Random matrices are made here: Gaussian, uniform by inputs and by
Xavier's bound, as f32 and bf16. Nothing but the standard library is needed. A model that has more than four lines, a
`problem` in a trained model, and a random matrix that is not told are printed by name.
"""

import array
import collections
import json
import math
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

SHAPES = [(32, 32), (48, 200), (64, 64), (96, 128), (128, 512), (256, 256)]
SEEDS = 3


def report(svdkit, path):
    """The report of svdkit, or None where it cannot read the file."""
    run = subprocess.run([svdkit, "spectrum", str(path), "--no-config", "--format", "json", "--quiet"], capture_output=True)
    if run.returncode == 2:
        print(f"{path}: {run.stderr.decode().strip().splitlines()[:1]}")
        return None
    return json.loads(run.stdout)


def entries(law, rows, cols):
    """Numbers of an initialization."""
    bound = {"uniform": 1 / math.sqrt(cols), "xavier": math.sqrt(6 / (rows + cols))}
    if law == "gaussian":
        return array.array("f", (random.gauss(0, 0.02) for _ in range(rows * cols)))
    return array.array("f", (random.uniform(-bound[law], bound[law]) for _ in range(rows * cols)))


def save(path, tensors):
    """Writes safetensors: (name, dtype, shape, bytes)."""
    header, data = {}, b""
    for name, dtype, shape, content in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def random_model(path, law, dtype):
    """A model of random matrices, none of which was trained."""
    tensors = []
    for seed in range(SEEDS):
        for rows, cols in SHAPES:
            numbers = entries(law, rows, cols)
            raw = numbers.tobytes()
            if dtype == "BF16":
                words = array.array("I", raw)
                raw = array.array("H", ((w + 0x7FFF + (w >> 16 & 1)) >> 16 for w in words)).tobytes()
            tensors.append((f"layers.{seed}.w{rows}x{cols}.weight", dtype, [rows, cols], raw))
    save(path, tensors)


def main():
    svdkit, models = sys.argv[1], sys.argv[2:]
    lines, matrices, levels = collections.Counter(), collections.Counter(), collections.Counter()
    total = large = read = 0
    for model in models:
        found = report(svdkit, model)
        if found is None:
            continue
        read += 1
        rows = found["rows"]
        total += len(rows)
        large += sum(min(row["shape"]) >= 32 for row in rows)
        for finding in found["findings"]:
            lines[finding["name"]] += 1
            matrices[finding["name"]] += len(finding["matrices"])
            levels[finding["level"]] += 1
        if len(found["findings"]) > 4 or any(f["level"] == "problem" for f in found["findings"]):
            print(f"{model}: {[(f['level'], f['name'], len(f['matrices'])) for f in found['findings']]}")
    print(f"trained: {read} models, {total} matrices, {large} with 32 rows and columns or more")
    print("\n| finding | models | matrices |\n|---|--:|--:|")
    for name, count in sorted(lines.items()):
        print(f"| `{name}` | {count} | {matrices[name]} |")
    print(f"\nlines by level: {dict(levels)}")

    random.seed(1)
    made = told = 0
    others = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for law in ("gaussian", "uniform", "xavier"):
            for dtype in ("F32", "BF16"):
                path = pathlib.Path(folder) / f"{law}-{dtype}.safetensors"
                random_model(path, law, dtype)
                found = report(svdkit, path)
                names = {row["name"] for row in found["rows"]}
                made += len(names)
                for finding in found["findings"]:
                    if finding["name"] == "random-like":
                        told += len(finding["matrices"])
                        missed = names - set(finding["matrices"])
                        if missed:
                            print(f"{law} {dtype}: not told: {sorted(missed)}")
                    else:
                        others[finding["name"]] += len(finding["matrices"]) or 1
    print(f"random: {told} of {made} matrices are random-like; other findings: {dict(others)}")


main()
