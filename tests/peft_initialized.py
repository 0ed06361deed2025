#!/usr/bin/env python3
"""Adapters of `adapter init`, and the bases that they leave, loaded by PEFT.

Not part of the default run. Needs torch, peft, transformers, safetensors:

    python tests/peft_initialized.py target/release/svdkit

- The Python of docs/data-files.md runs as it stands and makes the files of data.
- PEFT loads each folder; base + adapter gives the original's outputs to 1e-5 (KaSA's: those of the cut weights), and a
  training step lowers the loss.
- `rank` and `compare --compensate` read these files, too, and say what torch says of them.
- PEFT's own `pissa`, `corda`, `eva`, `olora` and `kasa_config` give the same update and the same base, up to rounding.
"""

import copy
import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import peft
import torch
from peft import EvaConfig, LoraConfig, PeftModel, get_peft_model, initialize_lora_eva_weights
from peft.tuners.lora.config import CordaConfig, KasaConfig
from safetensors.torch import load_file
import transformers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

if importlib.util.find_spec("attr") is None:
    # PEFT's CorDA imports it without naming it among its requirements, for a plain dataclass.
    sys.modules["attr"] = types.SimpleNamespace(dataclass=dataclasses.dataclass)
from peft.tuners.lora.corda import preprocess_corda  # noqa: E402

DOCS = Path(__file__).resolve().parent.parent / "docs/data-files.md"
BINARY = str(Path(sys.argv[1]).resolve())
RANK, ALPHA = 4, 6
TOKENS = (torch.arange(240).reshape(6, 40) * 7 + torch.arange(6).unsqueeze(1) ** 2) % 50
LINEAR = {"llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
          "gpt2": ["c_attn", "c_proj", "c_fc"]}


def models() -> dict:
    torch.manual_seed(5)
    llama = LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                        num_key_value_heads=2, vocab_size=50, max_position_embeddings=64)
    gpt2 = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=50, n_positions=64,
                      attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
    made = {"llama": LlamaForCausalLM(llama).eval(), "gpt2": GPT2LMHeadModel(gpt2).eval()}
    for model in made.values():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data = 0.3 * torch.randn_like(parameter)
    return made


def initialize(base: Path, method: str, *more: object) -> tuple[Path, dict]:
    out = Path(f"{method}-adapter")
    command = [BINARY, "adapter", "init", base, "--method", method, "--rank", RANK, "--out", out, "--format", "json",
               "--quiet", *more]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stderr}")
    return out, json.loads(done.stdout)


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def outputs(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


def trains(tuned: PeftModel) -> None:
    tuned.train()
    optimizer = torch.optim.SGD([p for p in tuned.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(3):
        loss = tuned(input_ids=TOKENS, labels=TOKENS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0], losses
    tuned.eval()


def updates(tuned: PeftModel) -> dict:
    modules = tuned.base_model.model.named_modules()
    return {n: m.get_delta_weight("default") for n, m in modules if hasattr(m, "lora_A") and "default" in m.lora_A}


def bases(tuned: PeftModel) -> dict:
    modules = tuned.base_model.model.named_modules()
    return {n: m.get_base_layer().weight for n, m in modules if hasattr(m, "lora_A")}


def same(ours: dict, theirs: dict, what: str, tolerance: float) -> float:
    assert ours.keys() == theirs.keys(), f"{what}: {ours.keys() ^ theirs.keys()}"
    worst = max((ours[n] - theirs[n]).norm().item() / max(theirs[n].norm().item(), 1e-9) for n in ours)
    assert worst < tolerance, f"{what}: {worst}"
    return worst


def peft_of(kind: str, method: str, model: torch.nn.Module) -> PeftModel | None:
    """The same adapter as PEFT makes it."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=LINEAR[kind], fan_in_fan_out=kind == "gpt2")
    model = copy.deepcopy(model)
    if method in ("pissa", "olora") and not (method == "olora" and kind == "gpt2"):
        config.init_lora_weights = method
        return get_peft_model(model, config)
    if method.startswith("corda"):
        config.init_lora_weights = "corda"
        config.corda_config = CordaConfig(corda_method=method[-3:], covariance_file="./peft-cov.pt")

        def run() -> None:
            for row in TOKENS:
                model(row.unsqueeze(0))

        preprocess_corda(model, config, run_model=run)
        return get_peft_model(model, config)
    if method == "kasa" and kind != "gpt2":
        config.kasa_config = KasaConfig()
        return get_peft_model(model, config)
    if method == "eva" and kind != "gpt2":
        config.init_lora_weights = "eva"
        config.eva_config = EvaConfig(use_label_mask=False)
        tuned = get_peft_model(model, config)
        batch = {"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS)}
        initialize_lora_eva_weights(tuned, dataloader=[batch] * 3, show_progress_bar=False)
        return tuned
    return None


def data_files(kind: str, model: torch.nn.Module) -> None:
    """Runs the documentation's own code."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(blocks) == 4, len(blocks)
    for block in blocks:
        if kind == "gpt2":
            block = block.replace("torch.nn.Linear", "Conv1D").replace("import torch\n", "import torch\nfrom transformers.pytorch_utils import Conv1D\n")
        exec(block, {"model": model, "batches": [{"input_ids": TOKENS, "labels": TOKENS}]})  # noqa: S102


def check(kind: str, model: torch.nn.Module, method: str) -> str:
    original = outputs(model)
    theirs = peft_of(kind, method, model)
    data = {"corda-ipm": ["--cov", "peft-cov.pt"], "corda-kpm": ["--cov", "peft-cov.pt"], "eva": ["--acts", "acts.safetensors"],
            "eora": ["--cov", "cov.safetensors", "--original", "base"]}.get(method, [])
    base = Path("compressed" if method == "eora" else "base")
    moved = Path(f"{method}-base")
    alpha = [] if method == "eora" else ["--alpha", ALPHA]
    beside = [] if method in ("eva", "eora") else ["--base-out", moved]
    adapter, report = initialize(base, method, *data, *alpha, *beside)
    home = moved if beside else base
    assert beside == [] or {p.name for p in moved.iterdir()} == {p.name for p in base.iterdir()}
    loaded = PeftModel.from_pretrained(type(model).from_pretrained(home), adapter, is_trainable=True).eval()
    said = []
    if method == "eora":
        away = [(outputs(one) - original).norm() / original.norm() for one in (type(model).from_pretrained(base), loaded)]
        assert away[1] < away[0], away
        said.append(f"outputs {away[0]:.1e} away before, {away[1]:.1e} after")
    elif method != "kasa":
        miss = far(outputs(loaded), original)
        assert miss < 1e-5, f"{kind}, {method}: {miss}"
        said.append(f"outputs {miss:.0e}")
    if theirs is not None:
        if method == "eva":
            ours, others = loaded.state_dict(), theirs.state_dict()
            rows = [n for n in others if ".lora_A." in n]
            assert rows == [n for n in ours if ".lora_A." in n]
            worst = 0.0
            for name in rows:
                a, b = ours[name], others[name]
                assert a.shape == b.shape, f"{name}: {a.shape}, PEFT {b.shape}"
                # Each row up to its sign.
                worst = max(worst, min((a - b).norm(), ((a * (a * b).sum(1, keepdim=True).sign()) - b).norm()).item())
            # PEFT's PCA is in f32, and directions of nearly the same variance turn into each other.
            assert worst < 1e-2, worst
            said.append(f"A and {len(rows)} ranks as PEFT's, {worst:.0e}")
        elif method == "kasa":
            said.append(f"base as PEFT's, {same(bases(loaded), bases(theirs), method, 1e-5):.0e}")
        else:
            update = same(updates(loaded), updates(theirs), method, 1e-3)
            base_ = same(bases(loaded), bases(theirs), method, 1e-3)
            said.append(f"update and base as PEFT's, {update:.0e} and {base_:.0e}")
    trains(loaded)
    errors = [row["preservation_error"] for row in report["rows"] if "preservation_error" in row]
    if errors:
        said.append(f"told {max(errors):.1e}")
    return "; ".join(said)


def previews(kind: str, model: torch.nn.Module, compressed: torch.nn.Module) -> str:
    """`rank` and `compare --compensate` read the same files of data; the error of outputs is that of the inputs kept."""
    def report(*command: str) -> list[dict]:
        done = subprocess.run([BINARY, *command, "--format", "json", "-q"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return json.loads(done.stdout)["rows"]

    rows = report("rank", "base", "--cov", "cov.safetensors", "--fisher", "fisher.safetensors", "--grad-cov", "grad_cov.safetensors", "--at", "8")
    weights = dict(model.named_parameters())
    for row in rows:
        m, n = row["shape"]
        assert 0 < row["effective_parameters"] <= m * n and row["output_loss_8"] <= row["svd_output_loss_8"] + 1e-12, row
        fisher = load_file("fisher.safetensors")[row["name"] + ".fisher"].double()
        weight = weights[row["name"] + ".weight"].detach().double()
        rest = row["lists"]["fisher_svd_fisher_norm"][0]
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
        left = weight - (u[:, :8] * s[:8]) @ v[:8]
        assert abs((fisher * left**2).sum().sqrt() - rest) < 1e-6 * rest, row["name"]
    acts = load_file("acts.safetensors")
    worst = 0.0
    for row in report("compare", "base", "compressed", "--compensate", "4", "--acts", "acts.safetensors"):
        before, after = (dict(m.named_parameters())[row["name"] + ".weight"].detach().double() for m in (model, compressed))
        x = acts[row["name"] + ".acts"].double()
        error = (x @ (before - after) if kind == "gpt2" else x @ (before - after).T).norm().item()
        worst = max(worst, abs(error - row["output_error_norm"]) / error)
    assert worst < 1e-9, worst
    return f"{len(rows)} ranks by data, errors of outputs {worst:.0e} away"


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    print(f"peft {peft.__version__}, torch {torch.__version__}")
    for kind, model in models().items():
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            model.save_pretrained("base")
            data_files(kind, model)
            compressed = copy.deepcopy(model)
            for name, parameter in compressed.named_parameters():
                if parameter.ndim > 1 and "embed" not in name and "wte" not in name and "lm_head" not in name:
                    parameter.data = (parameter.data * 32).round() / 32
            compressed.save_pretrained("compressed")
            for method in ("pissa", "minor", "sorsa", "olora", "corda-ipm", "corda-kpm", "kasa", "eva", "eora"):
                if (kind, method) == ("gpt2", "kasa"):
                    continue
                print(f"{kind:<6} {method:<10} {check(kind, model, method)}", flush=True)
            print(f"{kind:<6} previews   {previews(kind, model, compressed)}", flush=True)
            os.chdir("/")


if __name__ == "__main__":
    main()
