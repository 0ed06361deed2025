#!/usr/bin/env python3
"""Adapters made by PEFT, merged by PEFT in f64, against what the binary says of the files that PEFT saved.

Not part of the default run. Needs torch, peft, transformers, safetensors:

    python tests/peft_adapters.py target/release/svdkit

For each way to adapt a small model: the adapter's parameters are filled with noise and saved; PEFT merges it into the
model in f64; the singular values of merged − base must equal those of `spectrum ADAPTER --base BASE`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import peft
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D


class Experts(nn.Module):
    """A fused mixture: experts × out × in, and experts × in × out."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(3, 10, 8))
        self.down_proj = nn.Parameter(torch.randn(3, 8, 5))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.layers = nn.ModuleList([
            nn.ModuleDict({"q": nn.Linear(8, 8), "up": nn.Linear(8, 14, bias=False), "turned": Conv1D(9, 8)})
            for _ in range(2)
        ])
        self.conv = nn.Conv2d(3, 6, 3)
        self.line = nn.Conv1d(4, 6, 3)
        self.experts = Experts()
        self.head = nn.Linear(8, 12, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


CASES = {
    "linear": LoraConfig(r=3, lora_alpha=5, target_modules=["q", "up"]),
    "rslora": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["q", "up"]),
    "patterns": LoraConfig(
        r=2, lora_alpha=3, target_modules=["q", "up"], rank_pattern={r"layers\.0\.q": 4, "up": 1},
        alpha_pattern={"layers.1.(q|up)": 9, "q": 7},
    ),
    "turned": LoraConfig(r=3, lora_alpha=5, target_modules=["turned"], fan_in_fan_out=True),
    "mixed": LoraConfig(r=3, lora_alpha=5, target_modules=["turned", "up"], fan_in_fan_out=True),
    "conv": LoraConfig(r=2, lora_alpha=5, target_modules=["conv", "line"]),
    "embedding": LoraConfig(r=2, lora_alpha=5, target_modules=["embed"]),
    "bias": LoraConfig(r=2, lora_alpha=5, target_modules=["q"], lora_bias=True, bias="lora_only"),
    "dora": LoraConfig(r=2, lora_alpha=5, use_dora=True, target_modules=["q", "up"]),
    "dora turned": LoraConfig(r=2, lora_alpha=5, use_dora=True, target_modules=["turned"], fan_in_fan_out=True),
    "dora conv": LoraConfig(r=2, lora_alpha=5, use_dora=True, target_modules=["conv"]),
    "dora embedding": LoraConfig(r=2, lora_alpha=5, use_dora=True, target_modules=["embed"]),
    "whole": LoraConfig(r=2, lora_alpha=5, target_modules=["q"], modules_to_save=["head"]),
    "experts": LoraConfig(
        r=2, lora_alpha=5, target_modules=[], target_parameters=["experts.gate_up_proj", "experts.down_proj"],
    ),
    "pissa": LoraConfig(r=2, lora_alpha=5, init_lora_weights="pissa", target_modules=["q", "up"]),
    "pissa converted": LoraConfig(r=2, lora_alpha=5, init_lora_weights="pissa", target_modules=["q", "up"]),
    "loha": LoHaConfig(r=2, alpha=5, target_modules=["q", "up", "conv"]),
    "loha kernel": LoHaConfig(r=2, alpha=5, target_modules=["conv"], use_effective_conv2d=True),
    "lokr": LoKrConfig(r=2, alpha=5, target_modules=["q", "up", "conv"]),
    "lokr both": LoKrConfig(r=1, alpha=5, target_modules=["q", "up", "conv"], decompose_both=True, decompose_factor=4),
    "lokr kernel": LoKrConfig(r=1, alpha=5, target_modules=["conv"], use_effective_conv2d=True),
}


def matrices(name: str, x: torch.Tensor) -> dict[str, torch.Tensor]:
    name = name.removesuffix(".weight")
    if name.startswith("experts"):
        return {f"{name}[{e}]": x[e] for e in range(x.shape[0])}
    return {name: x.reshape(x.shape[0], -1)}


def moved(tuned: peft.PeftModel, folder: Path, *, converted: bool) -> list:
    """Saves an adapter whose initialization moved the base; gives the options that say so."""
    config, init = tuned.peft_config["default"], tuned.peft_config["default"].init_lora_weights
    config.init_lora_weights = True
    tuned.save_pretrained(folder / "init")
    for name, parameter in tuned.named_parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter)
    if converted:
        tuned.save_pretrained(folder / "adapter", path_initial_model_for_weight_conversion=folder / "init")
        return []
    config.init_lora_weights = init
    tuned.save_pretrained(folder / "adapter")
    return ["--adapter-init", folder / "init"]


def check(binary: str, case: str, config: peft.PeftConfig, folder: Path) -> float:
    torch.manual_seed(1)
    # PEFT takes no part out of weights in f64.
    model = Model() if case.startswith("pissa") else Model().double()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    base, adapter, spectra = folder / "base.safetensors", folder / "adapter", folder / "spectra.safetensors"
    save_file(before, base)
    tuned, options = get_peft_model(model, config), []
    if case.startswith("pissa"):
        options = moved(tuned, folder, converted="converted" in case)
    else:
        for name, parameter in tuned.named_parameters():
            if parameter.requires_grad:
                length = "magnitude" in name
                parameter.data = torch.randn_like(parameter).abs() + 0.5 if length else torch.randn_like(parameter)
        tuned.save_pretrained(adapter, save_embedding_layers=False)
    merged = tuned.merge_and_unload().state_dict()
    output = subprocess.run(
        [binary, "spectrum", adapter, "--base", base, "--singular-values", spectra, "--format", "json", *options],
        capture_output=True, text=True, check=False,
    )
    if output.returncode != 0:
        raise SystemExit(f"{case}: {output.stderr}")
    found, worst, changed = load_file(spectra), 0.0, 0
    for name, weight in before.items():
        for row, update in matrices(name, merged[name].double() - weight.double()).items() if weight.dim() > 1 else ():
            if update.abs().max() == 0:
                continue
            changed += 1
            expected = torch.linalg.svdvals(update)
            worst = max(worst, ((found[row] - expected).abs().max() / expected[0]).item())
    if changed != len(found):
        raise SystemExit(f"{case}: PEFT changed {changed} matrices, svdkit says {sorted(found)}")
    return worst


def main() -> None:
    print(f"peft {peft.__version__}, torch {torch.__version__}")
    failed = False
    for case, config in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            worst = check(sys.argv[1], case, config, Path(folder))
        failed |= worst > (1e-6 if case.startswith("pissa") else 1e-12)
        print(f"{case:<16} largest difference, relative to the first singular value: {worst:.1e}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
