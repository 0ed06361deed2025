#!/usr/bin/env python3
"""The p-values of `svdkit lineage` on models that were trained independently, on fine-tunes and on permuted copies.

Run:  python3 tests/lineage_null.py target/release/svdkit        (numpy, scipy, torch, safetensors)

Trains small language models with gated MLPs from different seeds on the same data, all at once. Independent pairs must have
p-values that are spread evenly (Kolmogorov-Smirnov, p > 0.001); fine-tunes and copies in another order p < 1e-10.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from scipy.stats import kstest

PROGRAM = sys.argv[1]
MODELS, VOCAB, WIDTH, HIDDEN, BLOCKS = 32, 64, 32, 96, 2


def parameters(generator):
    def normal(*shape):
        return torch.randn(MODELS, *shape, generator=generator) * shape[-1] ** -0.5

    named = {"embed_tokens": normal(VOCAB, WIDTH), "embed_before": normal(VOCAB, WIDTH), "lm_head": normal(VOCAB, WIDTH)}
    for block in range(BLOCKS):
        named[f"{block}.gate_proj"] = normal(HIDDEN, WIDTH)
        named[f"{block}.up_proj"] = normal(HIDDEN, WIDTH)
        named[f"{block}.down_proj"] = normal(WIDTH, HIDDEN)
        named[f"{block}.norm"] = torch.ones(MODELS, WIDTH)
    return {name: value.requires_grad_() for name, value in named.items()}


def loss(named, before, token, target):
    def rms(x):
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()

    x = named["embed_tokens"][:, token] + named["embed_before"][:, before]
    for block in range(BLOCKS):
        y = rms(x) * named[f"{block}.norm"][:, None]
        gate = torch.einsum("mbd,mhd->mbh", y, named[f"{block}.gate_proj"])
        up = torch.einsum("mbd,mhd->mbh", y, named[f"{block}.up_proj"])
        x = x + torch.einsum("mbh,mdh->mbd", torch.nn.functional.silu(gate) * up, named[f"{block}.down_proj"])
    logits = torch.einsum("mbd,mvd->mbv", rms(x), named["lm_head"])
    flat = logits.reshape(-1, VOCAB)
    return torch.nn.functional.cross_entropy(flat, target.repeat(MODELS)) * MODELS


def train(named, table, steps, generator, rate):
    optimizer = torch.optim.AdamW(named.values(), lr=rate, weight_decay=0.1)
    for _ in range(steps):
        pair = torch.randint(VOCAB, (2, 256), generator=generator)
        target = torch.multinomial(table[pair[0], pair[1]], 1, generator=generator).flatten()
        optimizer.zero_grad()
        value = loss(named, pair[0], pair[1], target)
        value.backward()
        optimizer.step()
    return value.item() / MODELS


def data(seed):
    generator = torch.Generator().manual_seed(seed)
    common = 2 * torch.randn(VOCAB, generator=generator)
    return torch.softmax(common + 2 * torch.randn(VOCAB, VOCAB, VOCAB, generator=generator), -1)


def save(named, folder, permute=None):
    paths = []
    for model in range(MODELS):
        tensors = {}
        for name, value in named.items():
            value = value[model].detach()
            if permute is not None and "." in name:
                value = permute(name, value)
            module = name.replace("gate_proj", "mlp.gate_proj").replace("up_proj", "mlp.up_proj").replace("down_proj", "mlp.down_proj")
            key = f"model.layers.{module}" if "." in name else f"model.{name}"
            tensors[f"{key}.weight"] = value.contiguous()
        paths.append(folder / f"{model}.safetensors")
        save_file(tensors, paths[-1])
    return paths


def lineage(a, b, *options):
    command = [PROGRAM, "lineage", a, b, "--format", "json", *options]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    rows = [10 ** row["log10_p"] for row in report["rows"]]
    return rows, report["groups"][0]["log10_p"]


def main():
    torch.set_num_threads(2)
    folder = Path(tempfile.mkdtemp())
    for name in ("first", "tuned", "moved"):
        (folder / name).mkdir()
    generator = torch.Generator().manual_seed(1)
    named = parameters(generator)
    print("loss", train(named, data(2), 400, generator, 3e-3))
    first = save(named, folder / "first")
    order = torch.randperm(HIDDEN, generator=generator)
    moved = save(named, folder / "moved", lambda name, x: x[:, order] if "down" in name else x if "norm" in name else x[order])
    print("loss after fine-tuning", train(named, data(3), 150, generator, 1e-3))
    tuned = save(named, folder / "tuned")
    failed = False
    for options in ((), ("--permuted",)):
        pairs = list(itertools.combinations(range(MODELS), 2))[::3]
        found = [lineage(first[a], first[b], *options) for a, b in pairs]
        each = [p for rows, _ in found for p in rows]
        together = [10**log for _, log in found]
        for what, values in (("blocks", each), ("combined", together)):
            even = kstest(values, "uniform").pvalue
            low = sum(p < 0.01 for p in values) / len(values)
            print(options, what, len(values), f"KS p {even:.3f}, below 0.01: {low:.3f}, least {min(values):.2g}")
            failed |= even < 0.001
        related = [("fine-tunes", tuned)] + ([("permuted", moved)] if options else [])
        for what, others in related:
            worst = max(lineage(a, b, *options)[1] for a, b in zip(first, others))
            print(options, what, "largest log10 p", worst)
            failed |= worst > -10
    sys.exit(int(failed))


main()
