#!/usr/bin/env python3
"""Intruders of one matrix pair: the binary against the authors' way, three full SVDs in f32.

    python tests/bench/intruders.py target/release/svdkit [--width 2048] [--matrices 4] [--rounds 3]

Needs torch and safetensors. Makes bf16 weights with heavy-tailed spectra, a LoRA of rank 16 and a full fine-tune of
them, and runs both sides in turn on the same cores, reading included. The paper's script takes the SVDs of base, tuned
and update of every matrix (the last for its effective rank). Prints medians, the ratio, and whether the counts agree.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def weights(width: int, count: int) -> dict[str, torch.Tensor]:
    made = {}
    for i in range(count):
        noise = torch.randn(width, width) / width**0.5
        rank = 64
        left, right = torch.randn(width, rank), torch.randn(rank, width)
        sizes = 3.0 * torch.arange(1, rank + 1).float().pow(-0.6) / width
        made[f"layers.{i}.mlp.up_proj.weight"] = (noise + (left * sizes) @ right).to(torch.bfloat16)
    return made


def theirs(base: Path, tuned: Path) -> int:
    """Left vectors, k = 10, ε = 0.5, as find_intruder_dimensions.py counts; the update's SVD for its effective rank."""
    before, after, total = load_file(base), load_file(tuned), 0
    for name, weight in before.items():
        old, new = weight.float(), after[name].float()
        u0 = torch.linalg.svd(old, full_matrices=False)[0]
        u = torch.linalg.svd(new, full_matrices=False)[0]
        torch.linalg.svd(new - old, full_matrices=False)
        total += int(((u[:, :10].T @ u0).abs().amax(1) < 0.5).sum())
    return total


def ours(svdkit: str, base: Path, tuned: Path) -> int:
    command = [svdkit, "intruders", base, tuned, "--format", "json", "-q"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return sum(row["intruder_count"] for row in report["rows"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("svdkit")
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--matrices", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        base, width = weights(arguments.width, arguments.matrices), arguments.width
        lora, merged, full = {}, {}, {}
        for name, weight in base.items():
            down, up = torch.randn(16, width) / width**0.5, torch.randn(width, 16) * 0.35 / 4
            module = f"base_model.model.{name.removesuffix('.weight')}"
            lora[f"{module}.lora_A.weight"], lora[f"{module}.lora_B.weight"] = down, up
            merged[name] = weight.float() + 16 * up @ down
            full[name] = (weight.float() + 0.1 * torch.randn(width, width) / width**0.5).to(torch.bfloat16)
        save_file(base, folder / "base.safetensors")
        save_file(merged, folder / "merged.safetensors")
        save_file(full, folder / "full.safetensors")
        (folder / "lora").mkdir()
        save_file(lora, folder / "lora" / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 16, "lora_alpha": 256}
        (folder / "lora" / "adapter_config.json").write_text(json.dumps(config))
        for label, tuned, dense in [("LoRA", "lora", "merged.safetensors"), ("full", "full.safetensors", "full.safetensors")]:
            times = {"svdkit": [], "torch": []}
            for _ in range(arguments.rounds):
                begun = time.perf_counter()
                found = ours(arguments.svdkit, folder / "base.safetensors", folder / tuned)
                times["svdkit"].append(time.perf_counter() - begun)
                begun = time.perf_counter()
                expected = theirs(folder / "base.safetensors", folder / dense)
                times["torch"].append(time.perf_counter() - begun)
            mine, other = (statistics.median(times[side]) / arguments.matrices for side in ("svdkit", "torch"))
            print(f"{label:5} {width}²: svdkit {1e3 * mine:7.0f} ms a matrix, three SVDs {1e3 * other:7.0f} ms, "
                  f"ratio {other / mine:5.1f}, intruders {found} and {expected}")


if __name__ == "__main__":
    os.environ["CI"] = "true"  # without the cache: what is known takes no time
    main()
