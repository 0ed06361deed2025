#!/usr/bin/env python3
"""svdkit farms beside FARMS' own way with a matrix: torch.linalg.svdvals of every window, one after the other.

Run:  python3 tests/bench/farms.py --svdkit target/release/svdkit        (torch, numpy, safetensors)

A matrix of Gaussian entries with a heavy tail is written as bf16. FARMS' sampling and its tail fit are restated here from
the description in docs/metrics.md. Times are of the clock and, for machines that are shared, of the processors. `--exact` compares exponents on windows that are all decomposed in f64; without it
the peer decomposes `--subset` windows in f32, as its script does, and its time for all of them is extrapolated. Its fit,
a loop over all values in Python, is not counted unless `--exact` runs it.
"""

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file


def places(side, length, most):
    step = max(1, (side - length) // (most - 1))
    count = min(most, max(1, (side - length) // step + 1))
    return [min(i * step, side - length) for i in range(count)]


def windows(weight, window, most):
    rows, cols = weight.shape
    m = min(window, rows, cols)
    return [weight[r : r + m, c : c + m] for r in places(rows, m, most) for c in places(cols, m, most)]


def distance(values, i):
    n = len(values) - i
    alpha = 1 + n / (np.log(values[i:]).sum() - n * np.log(values[i]))
    return alpha, np.abs(1 - (values[i:] / values[i]) ** (1 - alpha) - np.arange(n) / n).max()


def peak(values):
    logs = np.log10(values)
    counts, edges = np.histogram(logs, 100)
    top = 10 ** edges[np.argmax(counts)]
    low, high = np.log10(0.95 * top), 1.5 * top
    best = (2.0, 0.0)
    for i in range(len(values) - 1):
        if values[i] < low:
            continue
        if values[i] > high:
            break
        alpha, d = distance(values, i)
        if alpha > 1 and d < best[0]:
            best = (d, alpha)
    return best[1]


def median(values):
    return distance(values, len(values) // 2)[0]


def processor(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def farms(arguments, path, rule):
    command = [arguments.svdkit, "farms", path, "--window", arguments.window, "--windows-per-dim", arguments.per_dim]
    command += ["--xmin", rule, "--format", "json", "-q", "-j", arguments.threads]
    begun, spent = time.perf_counter(), processor(resource.RUSAGE_CHILDREN)
    out = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
    spent = processor(resource.RUSAGE_CHILDREN) - spent
    return json.loads(out)["rows"][0], time.perf_counter() - begun, spent


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--svdkit", default="target/release/svdkit")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--cols", type=int, default=4096)
    parser.add_argument("--window", type=int, default=2000)
    parser.add_argument("--per-dim", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--subset", type=int, default=4)
    parser.add_argument("--exact", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(arguments.rows, arguments.cols, generator=generator)
    left = torch.randn(arguments.rows, 64, generator=generator)
    right = torch.randn(64, arguments.cols, generator=generator) * torch.logspace(0, -1.5, 64)[:, None]
    weight = (0.02 * (weight + left @ right)).to(torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file({"model.layers.0.weight": weight}, path)
        row, seconds, spent = farms(arguments, path, "peak")
        floor = row["windows"] * 4 / 3 * row["window_rows"] ** 3
        print(f"svdkit: {row['windows']} windows of {row['window_rows']}², whole spectrum, fits: {seconds:.1f} s, {spent:.1f} processor s")
        print(f"        {floor / spent / 1e9:.1f} Gflop a processor second of eigenvalue work (windows × 4/3·w³)")
        all_windows = windows(weight.float(), arguments.window, arguments.per_dim)
        assert len(all_windows) == row["windows"]
        if arguments.exact:
            values = np.sort(np.concatenate([torch.linalg.svdvals(w.double()).numpy() ** 2 for w in all_windows]))
            for rule, fit in (("peak", peak), ("median", median)):
                ours, theirs = farms(arguments, path, rule)[0]["farms_alpha"], fit(values)
                print(f"{rule}: {ours:.12f}, in numpy {theirs:.12f}, apart {abs(ours / theirs - 1):.1e}")
            return
        picked = all_windows[:: max(1, len(all_windows) // arguments.subset)][: arguments.subset]
        torch.linalg.svdvals(picked[0][:200, :200])
        begun, before = time.perf_counter(), processor(resource.RUSAGE_SELF)
        for window in picked:
            torch.linalg.svdvals(window)
        share = len(all_windows) / len(picked)
        theirs = (time.perf_counter() - begun) * share
        used = (processor(resource.RUSAGE_SELF) - before) * share
        print(f"torch:  {theirs:.0f} s, {used:.0f} processor s for all ({len(picked)} windows measured)")
        print(f"ratio:  {theirs / seconds:.1f}, {used / spent:.1f} by processor time")


if __name__ == "__main__":
    os.environ["CI"] = "true"  # without the cache: what is known takes no time
    main()
