"""svdkit beside the tools that answer the same question, on the same file, the same cores and in turns.

Builds checkpoints of real shapes with entries that look trained (noise with uneven columns under a few strong
directions), runs every contestant in a process of its own, several times round, and prints medians, ratios, peak memory
and the largest difference of a singular value. tests/bench/README.md says how to run it.

svdkit's time is that of the whole process: start, reading, singular values, every metric, writing. A peer's starts when
its packages are loaded and ends when it has its values; only WeightWatcher computes metrics as well.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

PEERS = ["numpy-gram", "scipy", "torch", "weightwatcher", "scipy-f64"]
ABOUT = {
    "svdkit": "svdkit spectrum",
    "svdkit-1": "svdkit spectrum -j 1",
    "numpy-gram": "numpy Gram + eigvalsh, f64",
    "scipy": "scipy.linalg.svdvals, f32",
    "scipy-f64": "scipy.linalg.svdvals, f64",
    "torch": "torch.linalg.svdvals, f32",
    "weightwatcher": "weightwatcher analyze()",
}


def models(quick):
    """Name -> (type, {tensor: shape})."""
    gpt2 = {"wte": (50257, 768), "wpe": (1024, 768)}
    for block in range(2 if quick else 12):
        for name, shape in {"attn.c_attn": (768, 2304), "attn.c_proj": (768, 768),
                            "mlp.c_fc": (768, 3072), "mlp.c_proj": (3072, 768)}.items():
            gpt2[f"h.{block}.{name}"] = shape
    llama = {}
    for name, shape in {"self_attn.q_proj": (4096, 4096), "self_attn.k_proj": (1024, 4096),
                        "self_attn.v_proj": (1024, 4096), "self_attn.o_proj": (4096, 4096),
                        "mlp.gate_proj": (14336, 4096), "mlp.up_proj": (14336, 4096),
                        "mlp.down_proj": (4096, 14336)}.items():
        # The quick one has a quarter of the width.
        llama[f"model.layers.0.{name}"] = tuple(n // 4 for n in shape) if quick else shape
    qwen = {}
    for expert in range(8 if quick else 128):
        for name, shape in {"gate_proj": (768, 2048), "up_proj": (768, 2048), "down_proj": (2048, 768)}.items():
            qwen[f"model.layers.0.mlp.experts.{expert}.{name}"] = shape
    return {"gpt2": ("f32", gpt2), "llama": ("bf16", llama), "qwen": ("bf16", qwen)}


def build(path, dtype, shapes):
    """Writes the checkpoint, the same each time."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    random = np.random.default_rng(1)
    tensors = {}
    for name, (rows, cols) in shapes.items():
        uneven = np.exp(0.3 * random.standard_normal(cols, dtype=np.float32))
        weight = random.standard_normal((rows, cols), dtype=np.float32) * (0.02 * uneven)
        strong = 0.3 / np.arange(1, 17, dtype=np.float32) / np.sqrt(cols)
        left = random.standard_normal((rows, 16), dtype=np.float32)
        weight += (left * strong) @ random.standard_normal((16, cols), dtype=np.float32)
        tensors[f"{name}.weight"] = torch.from_numpy(weight).to(torch.bfloat16 if dtype == "bf16" else torch.float32)
    save_file(tensors, path)


def peer(name, path, output):
    """One run of a peer: singular values into `output`, seconds to stdout."""
    import torch
    from safetensors import safe_open
    from safetensors.numpy import save_file

    if name == "weightwatcher":
        import logging

        import weightwatcher

        logging.disable(logging.CRITICAL)
    if name.startswith("scipy"):
        import scipy.linalg
    begun = time.perf_counter()
    found = {}
    with safe_open(path, "pt") as file:
        if name == "weightwatcher":
            model = torch.nn.ModuleDict()
            for key in file.keys():
                weight = file.get_tensor(key).float()
                layer = torch.nn.Linear(*reversed(weight.shape), bias=False, device="meta")
                layer.weight = torch.nn.Parameter(weight, requires_grad=False)
                model[key.removesuffix(".weight").replace(".", "_")] = layer
            weightwatcher.WeightWatcher(model=model).analyze()
        else:
            for key in file.keys():
                weight = file.get_tensor(key).float()
                found[key.removesuffix(".weight")] = values(name, weight)
    seconds = time.perf_counter() - begun
    if found:
        save_file(found, output)
    print(json.dumps({"seconds": seconds}))


def values(name, weight):
    """Singular values, descending."""
    import numpy as np

    if name == "torch":
        import torch

        return torch.linalg.svdvals(weight).double().numpy()
    if name.startswith("scipy"):
        import scipy.linalg

        weight = weight.double().numpy() if name == "scipy-f64" else weight.numpy()
        return scipy.linalg.svdvals(weight, check_finite=False).astype(np.float64)
    weight = weight.double().numpy()
    gram = weight.T @ weight if weight.shape[0] >= weight.shape[1] else weight @ weight.T
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)).copy()


def environment(cores):
    """The caller's environment without what slows numpy on some machines, and with the cores all may use."""
    kept = {key: value for key, value in os.environ.items() if key not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    threads = {key: str(cores) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return {**kept, **threads}


def apart(*arguments):
    """This script on one of its parts. A process starts with the memory of its parent on its account, so the one that
    starts the contestants loads no package and holds no weight."""
    return [sys.executable, os.path.abspath(__file__), *arguments]


def run(contestant, svdkit, path, output, cores):
    """Seconds and peak memory in MiB of one run."""
    if contestant.startswith("svdkit"):
        threads = 1 if contestant == "svdkit-1" else cores
        command = [svdkit, "spectrum", path, "-q", "-j", str(threads), "--format", "json"]
        command += ["--singular-values", output]
    else:
        command = apart("--peer", contestant, path, output)
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(cores)) as process:
        told = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    if process.returncode != 0:
        sys.exit(f"{contestant} ended with {process.returncode}")
    if not contestant.startswith("svdkit"):
        # What a peer prints before its last line is its own.
        seconds = json.loads(told.splitlines()[-1])["seconds"]
    return seconds, usage.ru_maxrss / 1024


def difference(found, reference):
    """The largest |σ − σ'| / σ₁ over all matrices, and the largest |σ − σ'| / σ where σ > 1e-4 σ₁."""
    from safetensors.numpy import load_file

    found, reference = load_file(found), load_file(reference)
    absolute = relative = 0.0
    for name, expected in reference.items():
        miss = abs(found[name] - expected)
        large = expected > 1e-4 * expected[0]
        absolute = max(absolute, (miss / expected[0]).max())
        relative = max(relative, (miss[large] / expected[large]).max())
    print(f" {absolute:9.1e} {relative:9.1e}")


def compare(name, arguments, folder):
    """All contestants on one checkpoint."""
    dtype, shapes = models(arguments.quick)[name]
    path = os.path.join(folder, f"{name}.safetensors")
    subprocess.run(apart(*(["--quick"] if arguments.quick else []), "--build", name, path), check=True)
    size = os.path.getsize(path) / 2**20
    print(f"\n{name}: {len(shapes)} matrices, {dtype}, {size:.0f} MiB, {arguments.cores} cores", flush=True)
    contestants = ["svdkit", "svdkit-1", *arguments.peers]
    output = {contestant: os.path.join(folder, contestant + ".safetensors") for contestant in contestants}
    runs = {contestant: [] for contestant in contestants}
    for repeat in range(arguments.repeats):
        for contestant in contestants:
            runs[contestant].append(run(contestant, arguments.svdkit, path, output[contestant], arguments.cores))
            print(f"  {repeat + 1}/{arguments.repeats} {contestant}: {runs[contestant][-1][0]:.2f} s", file=sys.stderr,
                  flush=True)
    median = {c: statistics.median(seconds for seconds, _ in runs[c]) for c in contestants}
    memory = {c: max(memory for _, memory in runs[c]) for c in contestants}
    print(f"  {'':28} {'median':>9} {'fastest':>9} {'ratio':>6} {'peak memory':>12} {'ratio':>6} "
          f"{'|Δσ|/σ₁':>9} {'|Δσ|/σ':>9}")
    for c in contestants:
        line = (f"  {ABOUT[c]:28} {median[c]:7.2f} s {min(runs[c])[0]:7.2f} s {median[c] / median['svdkit']:6.2f} "
                f"{memory[c]:8.0f} MiB {memory[c] / memory['svdkit']:6.2f}")
        print(line, end="", flush=True)
        if os.path.exists(output[c]):
            subprocess.run(apart("--difference", output[c], output["svdkit"]), check=True)
        else:
            print(flush=True)
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svdkit", default="target/release/svdkit", help="the binary")
    parser.add_argument("--models", default="gpt2,llama,qwen", help="which checkpoints, separated by commas")
    parser.add_argument("--peers", default=",".join(PEERS[:-1]), help=f"which peers, of {', '.join(PEERS)}")
    parser.add_argument("--repeats", type=int, default=5, help="times round")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="how many all may use")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller matrices: a minute or two")
    parser.add_argument("--folder", help="where the checkpoints go for the time being (default: a temporary folder)")
    for part, count in {"--peer": 3, "--build": 2, "--difference": 2}.items():
        parser.add_argument(part, nargs=count, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        return peer(*arguments.peer)
    if arguments.build:
        name, path = arguments.build
        return build(path, *models(arguments.quick)[name])
    if arguments.difference:
        return difference(*arguments.difference)
    arguments.peers = [peer for peer in arguments.peers.split(",") if peer]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name in arguments.models.split(","):
            compare(name, arguments, folder)


if __name__ == "__main__":
    os.environ["CI"] = "true"  # without the cache: what is known takes no time
    main()
