#!/usr/bin/env python3
"""Mitigated adapters written by the binary, loaded and merged by PEFT in f64, against weights computed here.

Not part of the default run. Needs torch, peft, transformers, safetensors:

    python tests/peft_mitigated.py target/release/svdkit

W_mit = W + (KEEP − 1)·Σ σᵢuᵢvᵢᵀ over the intruders of W = W₀ + ΔW. The adapter holds W_mit − W₀ cut to its rank; DoRA, LoHa
and LoKr are written with a rank that holds all of it.
"""

import copy
import subprocess
import sys
import tempfile
from pathlib import Path

import peft
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

KEEP = 0.75


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        # The square ones do not tell by their shape which way round they are stored.
        self.layers = nn.ModuleList([
            nn.ModuleDict({"q": nn.Linear(48, 48, bias=False), "up": nn.Linear(48, 80, bias=False),
                           "turned": Conv1D(48, 48), "wide": Conv1D(96, 48)})
            for _ in range(2)
        ])
        self.conv = nn.Conv2d(6, 12, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


LINEAR = ["q", "up"]
# With the ranks to write: the adapter's own, or one that holds everything.
CASES = {
    "linear": (LoraConfig(r=3, lora_alpha=8, target_modules=LINEAR), (None, 12)),
    "rslora": (LoraConfig(r=4, lora_alpha=9, use_rslora=True, target_modules=LINEAR), (None, 12)),
    "patterns": (LoraConfig(r=2, lora_alpha=5, target_modules=LINEAR, rank_pattern={"q": 5}, alpha_pattern={"up": 7}), (None, 12)),
    "turned": (LoraConfig(r=3, lora_alpha=8, target_modules=["turned", "wide"], fan_in_fan_out=True), (None, 12)),
    "conv": (LoraConfig(r=2, lora_alpha=8, target_modules=["conv"]), (None, 12)),
    "dora": (LoraConfig(r=3, lora_alpha=8, use_dora=True, target_modules=LINEAR), (14,)),
    "dora turned": (LoraConfig(r=3, lora_alpha=8, use_dora=True, target_modules=["turned"], fan_in_fan_out=True), (14,)),
    "dora conv": (LoraConfig(r=2, lora_alpha=8, use_dora=True, target_modules=["conv"]), (12,)),
    "loha": (LoHaConfig(r=2, alpha=4, target_modules=[*LINEAR, "conv"]), (48,)),
    "lokr": (LoKrConfig(r=2, alpha=4, target_modules=[*LINEAR, "conv"]), (48,)),
}


def mitigated(base: torch.Tensor, delta: torch.Tensor, rank: int) -> tuple[torch.Tensor, int]:
    """W_mit − W₀ cut to `rank`, and how many intruders there were."""
    u0 = torch.linalg.svd(base, full_matrices=False)[0]
    u, s, vh = torch.linalg.svd(base + delta, full_matrices=False)
    best = (u[:, :10].T @ u0).abs().amax(1)
    found = [i for i in range(10) if best[i] < 0.5]
    if not found:
        return delta, 0
    change = delta + (KEEP - 1) * (u[:, found] * s[found]) @ vh[found]
    u, s, vh = torch.linalg.svd(change, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vh[:rank], len(found)


def main() -> None:
    svdkit = sys.argv[1]
    torch.manual_seed(0)
    worst, intruders = 0.0, 0
    for name, (config, ranks) in CASES.items():
        for extra in ranks:
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                model = Model().double()
                save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "base.safetensors")
                adapted = get_peft_model(copy.deepcopy(model), copy.deepcopy(config)).double()
                for key, parameter in adapted.named_parameters():
                    if "magnitude" in key:
                        parameter.data *= 1 + 0.2 * torch.rand_like(parameter)
                    elif any(word in key for word in ("lora_", "hada_", "lokr_")):
                        nn.init.normal_(parameter, std=0.25)
                adapted.save_pretrained(folder / "adapter")
                merged = copy.deepcopy(adapted).merge_and_unload()
                command = [svdkit, "intruders", folder / "base.safetensors", folder / "adapter",
                           "--mitigate", str(KEEP), "--out", folder / "mitigated"]
                subprocess.run(command + (["--rank", str(extra)] if extra else []), check=True, stdout=subprocess.DEVNULL)
                loaded = PeftModel.from_pretrained(copy.deepcopy(model), folder / "mitigated").double()
                again = loaded.merge_and_unload()
                for key, base in model.named_parameters():
                    if base.ndim < 2:
                        continue
                    delta = merged.get_parameter(key) - base
                    module = adapted.get_submodule(f"base_model.model.{key.removesuffix('.weight')}")
                    if not isinstance(module, BaseTunerLayer):
                        continue
                    rank = extra or module.lora_A["default"].weight.shape[0]
                    if "dora" in name:
                        # Its update has all directions; the factors hold what is added to them.
                        rank = min(base.flatten(1).shape)
                    expected, count = mitigated(base.flatten(1), delta.flatten(1), rank)
                    miss = ((again.get_parameter(key) - base).flatten(1) - expected).norm() / expected.norm()
                    worst, intruders = max(worst, miss.item()), intruders + count
                    assert miss < 1e-6, f"{name} {key}: {miss:e}"
    assert intruders > 0
    print(f"peft {peft.__version__}: {intruders} intruders in {len(CASES)} adapters, worst relative difference {worst:.1e}")


if __name__ == "__main__":
    with torch.no_grad():
        main()
