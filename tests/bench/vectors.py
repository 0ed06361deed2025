#!/usr/bin/env python3
"""Pairs of full fine-tunes with all singular vectors, and single decompositions, beside torch, scipy and numpy.

    python tests/bench/vectors.py [--svdkit target/release/svdkit] [--width 2048] [--pairs 1] [--rounds 3] [--lora 16] [--svd]

A pair: `svdkit compare`, with the leading singular vectors, all of them and none, against three f32 SVDs by torch (base, tuned, update) and the products that
the same numbers take; both read the same bf16 files. With `--lora RANK` the tuned side is a LoRA of that rank on the base,
which the notebook merges. With `--svd` one Gaussian matrix: `cargo bench -- vectors/WIDTH`
(svdkit's and faer's, f64) against torch (f32), LAPACK's gesdd and gesvd and numpy's eigh of the Gram matrix (f64).
Everyone has all cores; rounds go in turns; medians and ratios are printed, and the largest resident memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def build(folder: Path, width: int, pairs: int, rank: int) -> None:
    """Weights with a few large directions on a flat bulk, and full fine-tunes of them, or adapters of this rank."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    base, tuned = {}, {}
    for i in range(pairs):
        left, right = torch.randn(width, 64), torch.randn(64, width)
        sizes = 3.0 * torch.arange(1, 65).float().pow(-0.6) / width
        weight = torch.randn(width, width) / width**0.5 + (left * sizes) @ right
        name = f"layers.{i}.mlp.up_proj.weight"
        base[name] = weight.to(torch.bfloat16)
        if rank:
            module = "base_model.model." + name.removesuffix(".weight")
            tuned[f"{module}.lora_A.weight"] = torch.randn(rank, width) / width**0.5
            tuned[f"{module}.lora_B.weight"] = 0.05 * torch.randn(width, rank)
            continue
        tuned[name] = (weight + 0.1 * torch.randn(width, width) / width**0.5).to(torch.bfloat16)
    save_file(base, folder / "base.safetensors")
    if not rank:
        save_file(tuned, folder / "tuned.safetensors")
        return
    (folder / "tuned").mkdir()
    save_file(tuned, folder / "tuned" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["up_proj"]}
    (folder / "tuned" / "adapter_config.json").write_text(json.dumps(config))


def notebook(folder: Path) -> None:
    """What a notebook would do for the same numbers; prints its seconds, packages loaded before."""
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    begun, busy = time.perf_counter(), time.process_time()
    before, adapter = load_file(folder / "base.safetensors"), folder / "tuned" / "adapter_model.safetensors"
    after = load_file(adapter if adapter.exists() else folder / "tuned.safetensors")
    for name, weight in before.items():
        old = weight.float()
        if adapter.exists():
            module = "base_model.model." + name.removesuffix(".weight")
            new = old + after[f"{module}.lora_B.weight"] @ after[f"{module}.lora_A.weight"]
        else:
            new = after[name].float()
        delta = new - old
        u0, s0, v0 = torch.linalg.svd(old, full_matrices=False)
        u, s, v = torch.linalg.svd(new, full_matrices=False)
        torch.linalg.svd(delta, full_matrices=False)
        left, right = u0.T @ u, v0 @ v.T
        core = u0.T @ delta @ v0.T
        numbers = (left * right).sum(), left.abs().amax(0).mean(), right.abs().amax(0).mean(), core.diagonal().square().sum()
        assert all(torch.isfinite(x) for x in numbers)
    print(time.perf_counter() - begun, time.process_time() - busy)


def run(command: list[str]) -> tuple[float, float, float, str]:
    """Seconds of the whole process, those of its processors, its peak in MiB, and what it wrote."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with {process.returncode}")
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, told


def pairs(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        script = [sys.executable, os.path.abspath(__file__)]
        build = ["--build", folder, *map(str, (arguments.width, arguments.pairs, arguments.lora))]
        subprocess.run([*script, *build], check=True)
        tuned = f"{folder}/tuned" if arguments.lora else f"{folder}/tuned.safetensors"
        compare = [arguments.svdkit, "compare", f"{folder}/base.safetensors", tuned]
        contestants = {
            "svdkit compare": [*compare, "--format", "json", "-q"],
            "svdkit compare --vectors all": [*compare, "--format", "json", "-q", "--vectors", "all"],
            "svdkit compare --vectors none": [*compare, "--format", "json", "-q", "--vectors", "none"],
            "torch f32": [*script, "--notebook", folder],
        }
        for label, command in [part.split("=", 1) for part in arguments.beside]:
            contestants[label] = [command, *contestants["svdkit compare"][1:]]
        times = {name: [] for name in contestants}
        busy, peaks = {name: [] for name in contestants}, dict.fromkeys(contestants, 0.0)
        for _ in range(arguments.rounds):
            for name, command in contestants.items():
                seconds, processors, peak, told = run(command)
                if name.startswith("torch"):
                    seconds, processors = map(float, told.split())
                times[name].append(seconds)
                busy[name].append(processors)
                peaks[name] = max(peaks[name], peak)
        table(f"{arguments.pairs} pairs of {arguments.width}²", times, "svdkit compare", busy, peaks)


def decompositions(arguments: argparse.Namespace) -> None:
    import numpy as np
    import scipy.linalg
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    matrix = np.random.default_rng(1).standard_normal((arguments.width, arguments.width))
    single = torch.from_numpy(matrix.astype(np.float32))

    def eigh():
        right = np.linalg.eigh(matrix.T @ matrix)[1]
        left = matrix @ right
        return left / np.linalg.norm(left, axis=0)

    contestants = {
        "torch f32": lambda: torch.linalg.svd(single, full_matrices=False),
        "torch f64": lambda: torch.linalg.svd(single.double(), full_matrices=False),
        "scipy gesdd f64": lambda: scipy.linalg.svd(matrix, full_matrices=False),
        "numpy Gram, eigh f64": eigh,
    }
    if arguments.width <= 2048:
        contestants["scipy gesvd f64"] = lambda: scipy.linalg.svd(matrix, full_matrices=False, lapack_driver="gesvd")
    times = {name: [] for name in ["svdkit", "faer f64", *contestants]}
    for _ in range(arguments.rounds):
        bench = ["cargo", "bench", "--bench", "stages", "--", "--quick", f"vectors/{arguments.width}$"]
        told = subprocess.run(bench, check=True, capture_output=True, text=True).stdout
        for line in told.splitlines():
            for mark, name in [("vectors/", "svdkit"), ("faer-vectors/", "faer f64")]:
                if line.startswith(mark) and len(line.split()) >= 3:
                    times[name].append(float(line.split()[2]) / 1e3)
        for name, contestant in contestants.items():
            begun = time.perf_counter()
            contestant()
            times[name].append(time.perf_counter() - begun)
    table(f"all vectors of one matrix of {arguments.width}²", times, "svdkit")


def table(title, times, unit, busy=None, peaks=None) -> None:
    """Medians, ratios to one contestant and, where they are known, processor seconds and the largest peak."""
    medians = {name: statistics.median(spent) for name, spent in times.items() if spent}
    print(f"{title}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; medians, and over {unit}")
    for name, median in medians.items():
        more = f" {statistics.median(busy[name]):8.3f} s of processors {peaks[name]:7.0f} MiB" if busy else ""
        print(f"  {name:28} {median:8.3f} s {median / medians[unit]:6.2f}{more}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svdkit", default="target/release/svdkit", help="the binary")
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=BINARY", help="another build of it")
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--svd", action="store_true", help="single decompositions instead of pairs")
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="adapters instead of full fine-tunes")
    parser.add_argument("--build", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--notebook", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        folder, *sizes = arguments.build
        return build(Path(folder), *map(int, sizes))
    if arguments.notebook:
        return notebook(Path(arguments.notebook))
    decompositions(arguments) if arguments.svd else pairs(arguments)


if __name__ == "__main__":
    os.environ["CI"] = "true"  # without the cache: what is known takes no time
    main()
