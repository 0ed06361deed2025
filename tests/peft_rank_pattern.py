"""PEFT takes what `svdkit rank --emit peft-rank-pattern` writes, and gives every module exactly that rank and scale.

Not part of `cargo test`: it needs Python with `torch`, `peft` and `numpy`, all from PyPI.

    pip install torch peft
    cargo build
    python tests/peft_rank_pattern.py target/debug/svdkit

Modules are those of the bundled model, and a few whose names end alike.
"""

import json
import math
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import peft
import torch

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "fixtures/charlm/base/model.safetensors"
FULL = ROOT / "fixtures/charlm/full/model.safetensors"


def shapes(path):
    """The shape of every matrix, by the name of its module."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    matrices = {name: entry["shape"] for name, entry in header.items() if len(entry.get("shape", [])) == 2}
    return {name.removesuffix(".weight"): shape for name, shape in matrices.items()}


def model(modules):
    """A tree of modules of these names and shapes."""
    root = torch.nn.Module()
    for name, (rows, cols) in modules.items():
        *path, last = name.split(".")
        parent = root
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, torch.nn.Module())
            parent = getattr(parent, part)
        layer = torch.nn.Embedding(rows, cols) if "embed" in name else torch.nn.Linear(cols, rows, bias=False)
        parent.add_module(last, layer)
    return root


def ranks(root):
    """Rank and scale of every adapter that PEFT made, by module."""
    found = {}
    for name, module in root.named_modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            found[name.removeprefix("base_model.model.")] = (module.r["default"], module.scaling["default"])
    return found


def check(svdkit, checkpoint, arguments):
    command = [svdkit, "rank", str(checkpoint), "--emit", "peft-rank-pattern", *arguments]
    pattern = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    adapted = peft.get_peft_model(model(shapes(checkpoint)), peft.LoraConfig(**pattern))
    scale = pattern["lora_alpha"] / pattern["r"]
    expected = {name: (rank, scale) for name, rank in pattern["rank_pattern"].items()}
    found = ranks(adapted)
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    for name, (rank, scale) in expected.items():
        assert found[name][0] == rank, f"{name}: rank {found[name][0]}, wanted {rank}"
        assert math.isclose(found[name][1], scale, rel_tol=1e-12), f"{name}: scale {found[name][1]}, wanted {scale}"
    print(f"{' '.join(arguments)}: {len(found)} modules, ranks {min(r for r, _ in found.values())}"
          f" to {max(r for r, _ in found.values())}, as asked")
    return pattern


def alike(folder):
    """A checkpoint whose module names end alike, one of them all zero."""
    names = ["q", "a.q", "b.a.q", "k", "c.k"]
    generator = torch.Generator().manual_seed(0)
    tensors = {f"{name}.weight": torch.randn(24, 16, generator=generator) for name in names}
    tensors["c.k.weight"].zero_()
    # A steeper spectrum for some, so that the ranks differ.
    for i, name in enumerate(names[:4]):
        tensors[f"{name}.weight"] @= torch.diag(0.5 ** (torch.arange(16) * i / 4))
    path = folder / "model.safetensors"
    header, data = {}, b""
    for name, tensor in tensors.items():
        content = tensor.contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def main():
    svdkit = sys.argv[1] if len(sys.argv) > 1 else "svdkit"
    print(f"peft {peft.__version__}, torch {torch.__version__}")
    pattern = check(svdkit, BASE, ["--budget", "16"])
    assert sum(pattern["rank_pattern"].values()) == 16 * len(shapes(BASE))
    check(svdkit, BASE, ["--budget", "4", "--rho", "2", "--lora-alpha", "7"])
    check(svdkit, BASE, ["--energy", "0.9"])
    check(svdkit, FULL, ["--base", str(BASE), "--budget", "2"])
    with tempfile.TemporaryDirectory() as folder:
        pattern = check(svdkit, alike(Path(folder)), ["--energy", "0.5"])
        assert pattern["exclude_modules"] == ["c.k"], pattern
        assert len(set(pattern["rank_pattern"].values())) > 2, pattern


if __name__ == "__main__":
    main()
