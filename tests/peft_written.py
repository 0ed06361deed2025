#!/usr/bin/env python3
"""Adapters and merged checkpoints written by the binary, loaded by PEFT, Diffusers and LyCORIS.

Not part of the default run. Needs torch, peft, transformers, safetensors; what needs diffusers or lycoris-lora is left out
without them:

    python tests/peft_written.py target/release/svdkit

- `adapter merge` against PEFT's `merge_and_unload` in f64: the same entries, once rounded to f32.
- `adapter resize`, `canon` and `extract`: PEFT loads the folder, and base + adapter gives the original's outputs to 1e-5, with
  trained norms, biases, whole weights, and a model that mixes Conv1D and linear layers.
- `extract --energy 0.9` against the ranks of PEFT's `save_as_lora(rank=0.9)`.
- `--dialect diffusers` on a small UNet, `--dialect kohya` in LyCORIS.
"""

import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import peft
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(40, 24)
        self.layers = nn.ModuleList([
            nn.ModuleDict({"q": nn.Linear(24, 24), "up": nn.Linear(24, 36, bias=False), "down": nn.Linear(36, 24)})
            for _ in range(2)
        ])
        self.mlp = nn.ModuleDict({"c_fc": Conv1D(48, 24), "c_proj": Conv1D(24, 48)})
        self.conv = nn.Conv2d(1, 6, 3)
        self.norm = nn.LayerNorm(24)
        self.head = nn.Linear(24, 10, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.wte(tokens)
        for layer in self.layers:
            x = x + layer["down"](torch.tanh(layer["up"](torch.tanh(layer["q"](x)))))
        x = self.norm(x + self.mlp["c_proj"](torch.tanh(self.mlp["c_fc"](x))))
        seen = self.conv(x.unsqueeze(1))
        return torch.cat([self.head(x).flatten(1), seen.flatten(1)], 1)


LINEAR = ["q", "up", "down"]
CASES = {
    "lora": LoraConfig(r=3, lora_alpha=5, target_modules=LINEAR),
    "rslora": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=LINEAR),
    "patterns": LoraConfig(r=2, lora_alpha=3, target_modules=LINEAR, rank_pattern={r"layers\.0\.q": 4}, alpha_pattern={"up": 9}),
    "bias": LoraConfig(r=2, lora_alpha=5, target_modules=["q"], lora_bias=True),
    "turned": LoraConfig(r=3, lora_alpha=5, target_modules=["c_fc", "c_proj"], fan_in_fan_out=True),
    "conv": LoraConfig(r=2, lora_alpha=5, target_modules=["conv"]),
    "embedding": LoraConfig(r=2, lora_alpha=5, target_modules=["wte"]),
    "whole": LoraConfig(r=2, lora_alpha=5, target_modules=["q"], modules_to_save=["head", "norm"]),
    "dora": LoraConfig(r=2, lora_alpha=5, use_dora=True, target_modules=LINEAR),
    "dora conv": LoraConfig(r=2, lora_alpha=5, use_dora=True, target_modules=["conv"]),
    "loha": LoHaConfig(r=2, alpha=5, target_modules=[*LINEAR, "conv"]),
    "lokr": LoKrConfig(r=2, alpha=5, target_modules=[*LINEAR, "conv"]),
}
TOKENS = torch.arange(80).reshape(4, 20) % 40


def svdkit(*arguments: object) -> dict:
    command = [sys.argv[1], "adapter", *map(str, arguments), "--format", "json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stderr}")
    return json.loads(done.stdout)


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def noisy(tuned: nn.Module) -> None:
    for name, parameter in tuned.named_parameters():
        if parameter.requires_grad:
            noise = torch.randn_like(parameter)
            parameter.data = noise.abs() + 0.5 if "magnitude" in name else 0.3 * noise


def check_merge(folder: Path, base: Model, tuned: nn.Module, case: str) -> str:
    svdkit("merge", folder / "adapter", "--base", folder / "base.safetensors", "--out", folder / "merged")
    expected = copy.deepcopy(tuned).double().merge_and_unload().state_dict()
    found, same, changed = load_file(folder / "merged/base.safetensors"), 0, 0
    before = base.state_dict()
    for name, x in found.items():
        wanted = expected[name].float()
        apart = (x - wanted).abs()
        # A sum near the middle of two floats may be rounded either way.
        spacing = torch.finfo(torch.float32).eps * wanted.abs()
        assert (apart <= spacing).all(), f"{case}: {name} is {apart.max()} away"
        if not torch.equal(x, before[name]):
            same, changed = same + (apart == 0).sum().item(), changed + x.numel()
    assert changed > 0, case
    return f"merge: {same} of {changed} entries equal PEFT's, the others one spacing away"


def outputs(base: Model, folder: Path) -> torch.Tensor:
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
    return loaded(TOKENS)


def check_case(case: str, config: peft.PeftConfig, folder: Path) -> None:
    torch.manual_seed(1)
    base = Model().eval()
    save_file({name: x.contiguous() for name, x in base.state_dict().items()}, folder / "base.safetensors")
    tuned = get_peft_model(copy.deepcopy(base), copy.deepcopy(config)).eval()
    noisy(tuned)
    tuned.save_pretrained(folder / "adapter", save_embedding_layers=False)
    said = [check_merge(folder, base, tuned, case)]
    expected = tuned(TOKENS)
    svdkit("resize", folder / "adapter", "--base", folder / "base.safetensors", "--energy", 1, "--out", folder / "resized")
    miss = far(outputs(base, folder / "resized"), expected)
    assert miss < 1e-5, f"{case}: resized by {miss}"
    said.append(f"resize {miss:.0e}")
    if isinstance(config, LoraConfig):
        options = ["--base", folder / "base.safetensors"] if "dora" in case or case == "whole" else []
        exclude = ["--exclude", "head"] if case == "whole" else []
        svdkit("canon", folder / "adapter", *options, *exclude, "--out", folder / "canonical")
        miss = far(outputs(base, folder / "canonical"), expected)
        assert miss < 1e-5, f"{case}: canonical by {miss}"
        said.append(f"canon {miss:.0e}")
    if isinstance(config, (LoHaConfig, LoKrConfig)):
        said.append(check_ranks(folder, tuned, case))
    print(f"{case:<10} {'; '.join(said)}")


def check_ranks(folder: Path, tuned: nn.Module, case: str) -> str:
    """The ranks that hold 90 % of the energy, against those that PEFT converts to."""
    # What `convert_to_lora` asks of each module; it refuses a model with other layers beside linear ones.
    from peft.tuners.lora.conversion import _convert_module_to_lora

    report = svdkit("extract", folder / "base.safetensors", folder / "adapter", "--energy", 0.9, "--out", folder / "ninety")
    ours = {row["name"]: row["kept_rank"] for row in report["rows"]}
    count = 0
    for name, module in tuned.base_model.model.named_modules():
        if name in ours and isinstance(module.get_base_layer(), nn.Linear):
            theirs = _convert_module_to_lora(module, rank=0.9)[2]
            assert ours[name] == theirs, f"{case}: {name} has {ours[name]}, PEFT {theirs}"
            count += 1
    assert count
    return f"{count} ranks equal PEFT's at 0.9"


def check_extract(folder: Path) -> None:
    torch.manual_seed(2)
    base = Model().eval()
    tuned = copy.deepcopy(base)
    for name, parameter in tuned.named_parameters():
        if parameter.ndim > 1:
            rows, cols = parameter.shape[0], parameter[0].numel()
            change = 0.2 * torch.randn(rows, 2) @ torch.randn(2, cols)
            parameter.data += change.reshape(parameter.shape)
        else:
            # Norms and biases, of linear layers, Conv1D and the convolution.
            parameter.data += 0.2 * torch.randn_like(parameter)
    for name, model in (("base", base), ("tuned", tuned)):
        save_file({key: x.contiguous() for key, x in model.state_dict().items()}, folder / f"{name}.safetensors")
    report = svdkit("extract", folder / "base.safetensors", folder / "tuned.safetensors", "--rank", 2, "--out", folder / "out")
    miss = far(outputs(base, folder / "out"), tuned(TOKENS))
    assert miss < 1e-5, miss
    worst = max(row["lost_ratio"] for row in report["rows"])
    # The same by svdkit: linear layers and Conv1D in one file, square ones among them.
    svdkit("merge", folder / "out", "--base", folder / "base.safetensors", "--out", folder / "again")
    again, wanted = load_file(folder / "again/base.safetensors"), tuned.state_dict()
    back = max(far(again[name], x) for name, x in wanted.items())
    assert back < 1e-5, back
    config = json.loads((folder / "out/adapter_config.json").read_text())
    beside = f"bias {config['bias']}, modules_to_save {config['modules_to_save']}"
    print(f"extract    {len(report['rows'])} matrices of rank 2: outputs {miss:.0e}, merged {back:.0e}, lost {worst:.0e} at most; {beside}")
    # Less than all of it: the error is that of the best approximation.
    report = svdkit("extract", folder / "base.safetensors", folder / "tuned.safetensors", "--rank", 1, "--out", folder / "one")
    before, after = base.state_dict(), tuned.state_dict()
    for row in report["rows"]:
        name = f"{row['name']}.weight"
        values = torch.linalg.svdvals((after[name].double() - before[name].double()).flatten(1))
        assert abs(row["lost_norm"] - values[1:].norm().item()) < 2e-6 * values.norm().item(), row["name"]


def check_diffusers(folder: Path) -> None:
    try:
        from diffusers import UNet2DConditionModel
    except ImportError:
        print("diffusers  not installed")
        return
    torch.manual_seed(3)
    base = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=8,
    ).eval()
    tuned = copy.deepcopy(base)
    for name, parameter in tuned.named_parameters():
        if "attn" in name and parameter.ndim == 2:
            parameter.data += 0.2 * torch.randn(parameter.shape[0], 3) @ torch.randn(3, parameter.shape[1])
    for name, model in (("base", base), ("tuned", tuned)):
        model.save_pretrained(folder / name)
    inputs = (torch.randn(1, 4, 8, 8), torch.tensor([7]), torch.randn(1, 5, 16))
    expected = tuned(*inputs).sample
    before = far(base(*inputs).sample, expected)
    svdkit("extract", folder / "base", folder / "tuned", "--rank", 3, "--dialect", "diffusers", "--out", folder / "lora")
    loaded = copy.deepcopy(base)
    loaded.load_lora_adapter(folder / "lora", weight_name="pytorch_lora_weights.safetensors", prefix="unet")
    miss = far(loaded(*inputs).sample, expected)
    assert miss < 1e-5, miss
    print(f"diffusers  a UNet's adapter: outputs {miss:.0e}, without it {before:.0e}")
    try:
        from lycoris import create_lycoris_from_weights
    except ImportError:
        print("lycoris    not installed")
        return
    svdkit("extract", folder / "base", folder / "tuned", "--rank", 3, "--dialect", "kohya", "--prefix", "lycoris", "--out", folder / "kohya")
    network, _ = create_lycoris_from_weights(1.0, str(folder / "kohya/lora.safetensors"), copy.deepcopy(base))
    loaded = copy.deepcopy(base)
    network, _ = create_lycoris_from_weights(1.0, str(folder / "kohya/lora.safetensors"), loaded)
    network.apply_to()
    miss = far(loaded(*inputs).sample, expected)
    # LyCORIS multiplies the factors out in f32.
    assert miss < 1e-4, miss
    print(f"lycoris    the same in kohya's layout: {len(network.loras)} modules, outputs {miss:.0e}")


def main() -> None:
    print(f"peft {peft.__version__}, torch {torch.__version__}")
    for case, config in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            check_case(case, config, Path(folder))
    for check in (check_extract, check_diffusers):
        with tempfile.TemporaryDirectory() as folder:
            check(Path(folder))


if __name__ == "__main__":
    with torch.no_grad():
        main()
