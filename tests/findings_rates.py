"""How often each finding speaks, on trained models and on random ones: the figures of docs/findings.md.

    python3 tests/findings_rates.py target/release/svdkit MODEL ... [--write docs/findings.md]

MODELs are checkpoints that svdkit reads, trained ones. Random matrices are made here: Gaussian, also cut at two deviations,
uniform by inputs and by Xavier's bound, as f32 and bf16. Nothing but the standard library is needed. A model that has more
than four lines, a `problem` in a trained model, and a random matrix that is not told are printed by name. `--write` puts the
figures into the page, between the marks that it has for them.
"""

import array
import collections
import json
import math
import os
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
    if law == "cut":
        drawn = (random.gauss(0, 1) for _ in range(2 * rows * cols))
        return array.array("f", [0.02 * x for x in drawn if abs(x) < 2][: rows * cols])
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


def trained(svdkit, models):
    """What is found in trained models, as lines of the page."""
    lines, matrices, levels = collections.Counter(), collections.Counter(), collections.Counter()
    total = large = read = most = 0
    for model in models:
        found = report(svdkit, model)
        if found is None:
            continue
        read += 1
        rows, findings = found["rows"], found["findings"]
        total += len(rows)
        large += sum(min(row["shape"]) >= 32 for row in rows)
        most = max(most, len(findings))
        for finding in findings:
            lines[finding["name"]] += 1
            matrices[finding["name"]] += len(finding["matrices"])
            levels[finding["level"]] += 1
        told = [(f["level"], f["name"], f["matrices"][:3]) for f in findings]
        flag = "  <-- look" if len(findings) > 4 or any(f["level"] == "problem" for f in findings) else ""
        print(f"{model}: {told}{flag}")
    page = [
        f"{read} trained models, {total} matrices, {large} of them with 32 rows and columns or more; at most {most} lines a "
        f"model, {levels['problem']} of level problem:",
        "",
        "| finding | models | matrices |",
        "|---|--:|--:|",
    ]
    return page + [f"| `{name}` | {count} | {matrices[name]} |" for name, count in sorted(lines.items())]


def untrained(svdkit):
    """What is found in random matrices, as lines of the page."""
    random.seed(1)
    made = told = models = whole = 0
    others = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for law in ("gaussian", "cut", "uniform", "xavier"):
            for dtype in ("F32", "BF16"):
                path = pathlib.Path(folder) / f"{law}-{dtype}.safetensors"
                random_model(path, law, dtype)
                found = report(svdkit, path)
                names = {row["name"] for row in found["rows"]}
                made += len(names)
                models += 1
                for finding in found["findings"]:
                    if finding["name"] == "random-like":
                        told += len(finding["matrices"])
                        missed = names - set(finding["matrices"])
                        if missed:
                            print(f"{law} {dtype}: not told: {sorted(missed)}")
                    elif finding["name"] == "untrained-model":
                        whole += 1
                    else:
                        others[finding["name"]] += len(finding["matrices"]) or 1
    return [
        f"{made} random matrices in {models} models (Gaussian, cut Gaussian, uniform by inputs, Xavier; f32 and bf16): {told} are "
        f"`random-like`, {whole} models are `untrained-model`, other findings: {dict(others) or 'none'}."
    ]


def main():
    arguments = sys.argv[1:]
    page = None
    if "--write" in arguments:
        at = arguments.index("--write")
        page = pathlib.Path(arguments[at + 1])
        del arguments[at : at + 2]
    svdkit, models = arguments[0], arguments[1:]
    text = "\n".join([*trained(svdkit, models), "", *untrained(svdkit)])
    print(text)
    if page:
        first, last = "<!-- rates -->\n", "\n<!-- end of rates -->"
        before, rest = page.read_text().split(first)
        _, after = rest.split(last)
        page.write_text(before + first + text + last + after)


os.environ["CI"] = "true"  # without the cache
main()
