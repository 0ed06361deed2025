#!/usr/bin/env python3
"""What the binary says of adapters, against numpy in f64, at seeds and shapes that nobody chose:

    python tests/adapter_golden.py target/release/svdkit [COUNT] [FIRST]

Not part of the default run. Needs numpy. The formulas are those of `fixtures/oracle/adapters.json`, written here a second
time: where an update lies in its base, KaSA's and PiSSA's true updates, the weight of each direction, the canonical form.
Seeds FIRST to FIRST + COUNT; without FIRST they come from the clock, and are printed.
"""

import json
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

norm = np.linalg.norm


def svd(x: np.ndarray) -> tuple:
    return np.linalg.svd(x, full_matrices=False)


def save(path: Path, tensors: dict) -> None:
    header, data = {}, b""
    for name, x in tensors.items():
        content = np.ascontiguousarray(x, dtype=np.float64).tobytes()
        header[name] = {"dtype": "F64", "shape": list(x.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def load(path: Path) -> dict:
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    part = lambda info: content[start + info["data_offsets"][0] : start + info["data_offsets"][1]]
    return {name: np.frombuffer(part(info)).reshape(info["shape"]) for name, info in header.items() if name[0] != "_"}


class Case:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.worst = folder, (0.0, "")
        random = np.random.default_rng(seed)
        self.rows, self.cols, self.rank = random.integers(10, 40), random.integers(10, 40), random.integers(2, 6)
        self.scale = float(random.choice([0.5, 1.0, 2.0, 3.0]))
        self.w = random.uniform(-0.5, 0.5, (self.rows, self.cols))
        self.a = random.uniform(-0.5, 0.5, (self.rank, self.cols))
        self.b = random.uniform(-0.5, 0.5, (self.rows, self.rank))
        self.z = random.uniform(-0.5, 0.5, (self.rank, self.rank)) + 2 * np.eye(self.rank)
        self.d = random.uniform(-2, 2, self.rank)
        save(folder / "base.safetensors", {"w.weight": self.w})

    def adapter(self, name: str, a: np.ndarray, b: np.ndarray, fields: dict | None = None, **more: np.ndarray) -> Path:
        key = "base_model.model.w"
        tensors = {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b, **{f"{key}.{word}": x for word, x in more.items()}}
        save(self.folder / name / "adapter_model.safetensors", tensors)
        rank = len(a)
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": self.scale * rank, "target_modules": ["w"], **(fields or {})}
        (self.folder / name / "adapter_config.json").write_text(json.dumps(config))
        return self.folder / name

    def svdkit(self, *arguments: object) -> dict:
        command = [sys.argv[1], "adapter", *map(str, arguments), "--format", "json", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{command}: {done.stderr}")
        return json.loads(done.stdout)["rows"][0]

    def inspect(self, path: Path, *options: object) -> dict:
        return self.svdkit("inspect", path, "--base", self.folder / "base.safetensors", *options)

    def close(self, what: str, found: object, expected: object) -> None:
        miss = np.abs(np.asarray(found, float) - np.asarray(expected, float)).max()
        assert miss < 1e-9, f"{what}: {found} is not {expected}"
        self.worst = max(self.worst, (float(miss), what))

    def first(self, begin: int) -> tuple:
        """The factors of triplets from `begin` on: PiSSA's, or with the last ones SoMA's."""
        u, s, v = svd(self.w)
        i = np.arange(begin, begin + self.rank)
        root = np.sqrt(s[i] / self.scale)
        return root[:, None] * v[i], u[:, i] * root

    def lies(self) -> None:
        u, s, v = svd(self.w)

        def centroid(basis: np.ndarray, vectors: np.ndarray) -> tuple:
            w = ((basis.T @ vectors) ** 2).sum(1)
            return (np.arange(len(w)) * w).sum() / ((len(w) - 1) * w.sum()), 1 - w.sum() / (vectors**2).sum()

        for name, (a, b) in {"pissa": self.first(0), "tail": self.first(min(self.w.shape) - self.rank), "lora": (self.a, self.b)}.items():
            row = self.inspect(self.adapter(name, a, b))
            for side, basis, vectors in (("left", u, b), ("right", v.T, a.T)):
                self.close(f"{side}_centroid", row[f"{side}_centroid"], centroid(basis, vectors)[0])
            self.close("left_outside", row["left_outside"], centroid(u, b)[1])
        update = self.scale * self.b @ self.a
        core = u.T @ update @ v.T
        self.close("principal_share", row["principal_share"], (core[: self.rank, : self.rank] ** 2).sum() / norm(update) ** 2)
        self.close("delta_frobenius_ratio", row["delta_frobenius_ratio"], norm(update) / norm(self.w))
        self.close("delta_spectral_ratio", row["delta_spectral_ratio"], svd(update)[1][0] / s[0])
        one = np.eye(self.rank)
        self.close("defect_a", row["defect_a"], norm(self.a @ self.a.T - one))
        self.close("defect_b", row["defect_b"], norm(self.b.T @ self.b - one))

    def true_updates(self) -> None:
        u, s, v = svd(self.w)
        keep = min(self.w.shape) - self.rank
        tail = (u[:, keep:] * s[keep:]) @ v[keep:]
        update = self.scale * (self.b * self.d) @ self.a - tail
        path = self.adapter("kasa", self.a, self.b, {"kasa_config": {"beta": 1e-4}}, lora_diag=self.d)
        row = self.inspect(path)
        values = row["factors"]["singular_values"]
        self.close("kasa", values, svd(update)[1][: len(values)])
        self.close("kasa norm", row["frobenius_norm"], norm(update))
        a, b = self.first(0)
        before = self.adapter("before", a, b)
        after = self.adapter("after", a + 0.1 * self.a, b + 0.1 * self.b, {"init_lora_weights": "pissa"})
        update = self.scale * ((b + 0.1 * self.b) @ (a + 0.1 * self.a) - b @ a)
        row = self.inspect(after, "--adapter-init", before)
        values = row["factors"]["singular_values"]
        self.close("pissa", values, svd(update)[1][: len(values)])

    def directions(self) -> None:
        row = self.svdkit("inspect", self.adapter("plain", self.a, self.b))
        of_b, of_a = norm(self.b, axis=0), norm(self.a, axis=1)
        tail = lambda x: np.sqrt(np.cumsum((x**2)[::-1])[::-1])
        self.close("importance", row["factors"]["importance"], of_b * of_a)
        self.close("hierarchical", row["factors"]["hierarchical_importance"], tail(of_b) * tail(of_a))

    def canonical(self) -> None:
        q, t = np.linalg.qr(self.b)
        p, s = np.linalg.qr(self.a.T)
        u, d, v = svd(t @ s.T)
        b, a = (q @ u) * d, v @ p.T
        signs = np.sign(a[np.arange(len(d)), np.abs(a).argmax(1)])
        a, b = a * signs[:, None], b * signs
        for name, factors in {"one": (self.a, self.b), "mixed": (self.z @ self.a, self.b @ np.linalg.inv(self.z))}.items():
            path, out = self.adapter(name, *factors), self.folder / f"{name}-canonical"
            self.svdkit("canon", path, "--out", out)
            found = load(out / "adapter_model.safetensors")
            self.close("canonical A", found["base_model.model.w.lora_A.weight"], a)
            self.close("canonical B", found["base_model.model.w.lora_B.weight"], b)


def main() -> None:
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    first = int(sys.argv[3]) if len(sys.argv) > 3 else int(time.time())
    worst = (0.0, "")
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory() as folder:
            case = Case(Path(folder), seed)
            try:
                for check in (case.lies, case.true_updates, case.directions, case.canonical):
                    check()
            except AssertionError as error:
                raise SystemExit(f"seed {seed} ({case.rows} × {case.cols}, rank {case.rank}): {error}") from error
            worst = max(worst, case.worst)
    print(f"{count} seeds from {first}: worst difference {worst[0]:.1e} ({worst[1]})")


if __name__ == "__main__":
    main()
