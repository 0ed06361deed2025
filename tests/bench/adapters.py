#!/usr/bin/env python3
"""Times `adapter clash` of ten adapters, `adapter merge` of 1 GiB, `adapter extract` and `adapter init` of a Llama layer, for a
release binary:

    python3 tests/bench/adapters.py target/release/svdkit [FOLDER] [--only extract]

Needs numpy, and torch for `extract` and `init`. FOLDER (a temporary one by default) takes about 4.5 GiB.

- clash: ten LoRA adapters of rank 16 on the 224 linear modules of a Llama of 32 layers, 4096 wide.
- merge: 32 matrices of 4096 × 4096 in bf16, and an adapter of rank 16 on all of them, against `cp` of the same file. The two
  run in turns; the ratio of the medians is what counts.
- extract: rank 16 of a full fine-tune of a Llama-3-8B layer, against f32 SVDs by torch of base, tuned and update of the same
  seven matrices.
"""

import argparse
import json
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

RANDOM = np.random.default_rng(5)
SIDES = {
    "self_attn.q_proj": (4096, 4096), "self_attn.k_proj": (1024, 4096), "self_attn.v_proj": (1024, 4096),
    "self_attn.o_proj": (4096, 4096), "mlp.gate_proj": (14336, 4096), "mlp.up_proj": (14336, 4096),
    "mlp.down_proj": (4096, 14336),
}


def bf16(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def save(path: Path, tensors: dict) -> None:
    """name -> (shape, function that gives the bytes)."""
    header, at = {}, 0
    for name, (shape, _) in tensors.items():
        length = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, content in tensors.values():
            out.write(content())


def adapter(folder: Path, modules: dict, rank: int = 16) -> None:
    tensors = {}
    for name, (rows, cols) in modules.items():
        for side, shape in (("A", (rank, cols)), ("B", (rows, rank))):
            content = lambda shape=shape: bf16(0.02 * RANDOM.standard_normal(shape)).tobytes()
            tensors[f"base_model.model.{name}.lora_{side}.weight"] = (shape, content)
    save(folder / "adapter_model.safetensors", tensors)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank}))


def timed(command: list) -> float:
    begun = time.monotonic()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - begun


def clash(svdkit: str, folder: Path) -> None:
    modules = {f"model.layers.{i}.{name}": shape for i in range(32) for name, shape in SIDES.items()}
    adapters = [folder / f"adapter-{i}" for i in range(10)]
    for path in adapters:
        if not path.exists():
            adapter(path, modules)
    times = [timed([svdkit, "adapter", "clash", *adapters, "--no-cache"]) for _ in range(3)]
    print(f"clash: ten adapters of rank 16, {len(modules)} modules: {min(times):.1f} s (best of 3)")


def merge(svdkit: str, folder: Path) -> None:
    base, out = folder / "base.safetensors", folder / "merged"
    modules = {f"layers.{i}": (4096, 4096) for i in range(32)}
    if not base.exists():
        one = bf16(0.02 * RANDOM.standard_normal((4096, 4096))).tobytes()
        save(base, {f"{name}.weight": (shape, lambda: one) for name, shape in modules.items()})
        adapter(folder / "adapter", modules)
    copies, merges = [], []
    for _ in range(5):
        copies.append(timed(["cp", base, folder / "copy"]))
        (folder / "copy").unlink()
        merges.append(timed([svdkit, "adapter", "merge", folder / "adapter", "--base", base, "--out", out]))
        (out / base.name).unlink()
        out.rmdir()
    copy, ours = statistics.median(copies), statistics.median(merges)
    print(f"merge: 1 GiB in {ours:.2f} s, cp {copy:.2f} s: {ours / copy:.2f} times")


def extract(svdkit: str, folder: Path) -> None:
    base, tuned, out = folder / "layer.safetensors", folder / "layer-tuned.safetensors", folder / "extracted"
    if not tuned.exists():
        before, after = {}, {}
        for name, (rows, cols) in SIDES.items():
            weight = 0.02 * RANDOM.standard_normal((rows, cols), dtype=np.float32)
            sizes = 1e-3 * np.arange(1, 65, dtype=np.float32) ** -0.5
            change = (RANDOM.standard_normal((rows, 64), dtype=np.float32) * sizes) @ RANDOM.standard_normal((64, cols), dtype=np.float32)
            change += 2e-4 * RANDOM.standard_normal((rows, cols), dtype=np.float32)
            for entries, tensors in ((weight, before), (weight + change, after)):
                stored = bf16(entries)
                tensors[f"model.layers.0.{name}.weight"] = ((rows, cols), lambda stored=stored: stored.tobytes())
        save(base, before)
        save(tuned, after)
        del before, after
    times = []
    for _ in range(3):
        times.append(timed([svdkit, "adapter", "extract", base, tuned, "--rank", "16", "--out", out, "--no-cache"]))
        shutil.rmtree(out)
    ours = statistics.median(times)
    print(f"extract: rank 16 of a Llama layer in {ours:.1f} s (median of 3)", flush=True)

    import torch
    from safetensors.torch import load_file

    one, other = load_file(base), load_file(tuned)
    begun = time.monotonic()
    for name, before in one.items():
        before, after = before.float(), other[name].float()
        for matrix in (before, after, after - before):
            torch.linalg.svd(matrix, full_matrices=False)
    theirs = time.monotonic() - begun
    print(f"extract: three torch f32 SVDs of each in {theirs:.0f} s: {theirs / ours:.1f} times as long")


def init(svdkit: str, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    for kind in ("decaying", "flat"):
        base, out, residual = folder / f"{kind}.safetensors", folder / "initial", folder / "residual"
        if not base.exists():
            tensors = {}
            for name, (rows, cols) in SIDES.items():
                weight = 0.02 * RANDOM.standard_normal((rows, cols), dtype=np.float32)
                if kind == "decaying":
                    weight *= (1 + np.arange(cols, dtype=np.float32) / 40) ** -0.35
                stored = bf16(weight)
                tensors[f"model.layers.0.{name}.weight"] = ((rows, cols), lambda stored=stored: stored.tobytes())
            save(base, tensors)
            del tensors
        times = []
        for _ in range(3):
            command = [svdkit, "adapter", "init", base, "--method", "pissa", "--rank", "16", "--out", out, "--base-out", residual]
            times.append(timed([*command, "--no-cache"]))
            factors = load_file(out / "adapter_model.safetensors")
            for written in (out, residual):
                shutil.rmtree(written)
        ours = statistics.median(times)
        print(f"init, {kind}: pissa of rank 16 of a Llama layer in {ours:.1f} s (median of 3)", flush=True)
        quick, whole, worst = 0.0, 0.0, [0.0, 0.0]
        for name, weight in load_file(base).items():
            weight = weight.float()
            begun = time.monotonic()
            _, fast, _ = torch.svd_lowrank(weight, q=16, niter=16)
            quick += time.monotonic() - begun
            begun = time.monotonic()
            _, exact, _ = torch.linalg.svd(weight, full_matrices=False)
            whole += time.monotonic() - begun
            module = "base_model.model." + name.removesuffix(".weight")
            product = [factors[f"{module}.lora_{side}.weight"].double() for side in "BA"]
            own = torch.linalg.svdvals(torch.linalg.qr(product[0])[1] @ torch.linalg.qr(product[1].T)[1].T)
            for i, found in enumerate((own, fast)):
                worst[i] = max(worst[i], float(((found - exact[:16]).abs() / exact[:16]).max()))
        print(f"  torch f32 SVDs in {whole:.0f} s: {whole / ours:.1f} times as long; svd_lowrank of 16 iterations, as PEFT's "
              f"pissa_niter_16 calls it, in {quick:.1f} s: {quick / ours:.2f} times; values off by at most {worst[1]:.1e}, ours {worst[0]:.1e}")


PARTS = {part.__name__: part for part in (clash, merge, extract, init)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("svdkit")
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--only", choices=PARTS)
    arguments = parser.parse_args()
    svdkit = str(Path(arguments.svdkit).resolve())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary)
        for name, part in PARTS.items():
            if arguments.only in (None, name):
                part(svdkit, folder)


if __name__ == "__main__":
    main()
