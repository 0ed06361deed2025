"""Measures the peak of memory of the program on every fixture, every malformed file and every odd one made here.

    python3 tests/memory.py target/release/svdkit                    # limits of 64 MB, 200 MB and 1 GB
    python3 tests/memory.py target/release/svdkit --limits 64M --only stack
    python3 tests/memory.py target/release/svdkit --group            # the limit is that of a control group of its own

A command of `--memory LIMIT` may take that and 100 MB more, and never more than `--dry-run` has announced and 100 MB. With
`--group` nothing is said on the command line: each command runs in a nested control group (version 1 or 2, whichever this
machine has and lets one make), and none may be ended by the kernel. Odd files are small ones that stand for large matrices,
many matrices, long rows and long names. Needs Python alone.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import struct
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
sys.dont_write_bytecode = True
sys.path.insert(0, str(FIXTURES))

from containers import archive, state, tensor

MORE = 100 << 20
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
SECONDS = 600


def size(text):
    """`64M` in bytes."""
    number, unit = re.fullmatch(r"([\d.]+) ?([kKmMgG]?)i?B?", text).groups()
    return int(float(number) * UNITS[unit.lower()])


def entries(count, seed=1):
    """The bytes of so many half precision floats that look random."""
    state, out = seed, bytearray()
    for _ in range(count):
        state = (state * 1_664_525 + 1_013_904_223) & 0xffffffff
        out += struct.pack("<e", (state >> 8) / (1 << 24) - 0.5)
    return bytes(out)


def save(path, tensors, holes=0):
    """A safetensors file of `(name, shape)`; all have the same entries, from the first of a block on. The last `holes` bytes
    are zeros that take no room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header, at = {}, 0
    for name, shape in tensors:
        length = 2
        for axis in shape:
            length *= axis
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = entries(1 << 16)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        left = max(0, at - holes)
        while left > 0:
            # Runs that are not the same for any two matrices of one size.
            piece = block[(left * 2 // 7) % 1000 * 2:][:left]
            out.write(piece)
            left -= len(piece)
        out.truncate(8 + len(text) + at)


def odd(folder):
    """Small files that ask for much, by what they are."""
    def file(name, *tensors, **more):
        save(folder / name / "model.safetensors", tensors, **more)
        return folder / name

    yield file("stack", ("mix.experts", (65_536, 2, 2)))
    yield file("many", *((f"model.layers.{i // 10}.mlp.experts.{i % 10}.up_proj.weight", (8, 8)) for i in range(100_000)))
    yield file("vectors", *((f"model.layers.{i // 10}.norm_{i % 10}.weight", (8,)) for i in range(100_000)))
    yield file("norms", ("w", (8, 8)), *((f"model.layers.{i // 10}.norm_{i % 10}.weight", (8,)) for i in range(100_000)))
    yield file("long-names", *((f"{i}." + "x" * 20_000 + ".weight", (4, 4)) for i in range(1000)))
    yield file("row", ("w", (1, 500_000_000)), holes=999_000_000)
    yield file("column", ("w", (500_000_000, 1)), holes=999_000_000)
    yield file("wide", ("w", (64, 4_000_000)), holes=500_000_000)
    yield file("tall", ("w", (4_000_000, 64)), holes=500_000_000)
    yield file("square", ("w", (4096, 4096)), ("v", (4096, 4096)))
    yield file("lokr", ("lycoris_a.lokr_w1", (300, 300)), ("lycoris_a.lokr_w2", (300, 300)))
    yield file("loha", ("lycoris_a.hada_w1_a", (3000, 40)), ("lycoris_a.hada_w1_b", (40, 3000)),
               ("lycoris_a.hada_w2_a", (3000, 40)), ("lycoris_a.hada_w2_b", (40, 3000)))
    yield file("mid", ("lora_unet_a.lora_down.weight", (8, 320, 1, 1)), ("lora_unet_a.lora_mid.weight", (8, 8, 200, 200)),
               ("lora_unet_a.lora_up.weight", (64, 8, 1, 1)))
    yield file("lora", ("lora_unet_a.lora_down.weight", (4, 200_000)), ("lora_unet_a.lora_up.weight", (200_000, 4)))
    strided = folder / "strided" / "model.pt"
    archive(strided, {"x/data.pkl": state({"w": tensor([50_000, 50_000], [1, 1], count=99_999)}),
                      "x/data/0": bytes(4 * 99_999)}, zipfile.ZIP_STORED)
    yield strided


def subjects(folder, only):
    """Everything that is opened: files and folders of the fixtures, and what was made."""
    for path in sorted(FIXTURES.rglob("*")):
        if {"oracle", "reports", "conformance"} & set(path.relative_to(FIXTURES).parts) or path.suffix in {".py", ".md", ".txt"}:
            continue
        if (path.is_file() or any(inner.is_file() for inner in path.iterdir())) and only in str(path):
            yield path, False
    for path in odd(folder):
        if only in str(path):
            yield path, True
        else:
            shutil.rmtree(path if path.is_dir() else path.parent)


def commands(path, is_odd):
    """What is asked of a file."""
    formats = ["table", "json", "jsonl", "csv", "markdown", "html", "junit", "github", "gitlab"] if is_odd else ["table", "html"]
    yield from (["spectrum", path, "--format", form] for form in formats)
    yield ["spectrum", path, "--no-svd", "--format", "csv"]
    yield ["rank", path]
    yield ["farms", path]
    yield ["inspect", path]
    yield ["inspect", path, "--format", "json"]
    yield ["compare", path, path]
    yield ["compare", path, path, "--all", "--format", "json"]
    base = FIXTURES / "dialects/base"
    if "dialects" in path.parts or "charlm" in path.parts:
        base = FIXTURES / "charlm/base" if "charlm" in path.parts else base
        yield ["intruders", base, path]
        yield ["spectrum", path, "--base", base]
        yield ["compare", base, path]
    if is_odd:
        yield ["intruders", path, path]


class Group:
    """A control group inside of this one, with a limit of memory."""

    def __init__(self, limit):
        membership = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
        lines = [line.split(":", 2) for line in membership]
        mount = pathlib.Path("/sys/fs/cgroup")
        own = [path for _, controllers, path in lines if "memory" in controllers.split(",")]
        second = (mount / "cgroup.controllers").exists() and not own
        parent = mount / lines[0][2].strip("/") if second else mount / "memory" / own[0].strip("/")
        self.path = parent / f"svdkit-{os.getpid()}"
        self.path.mkdir()
        if second:
            (self.path / "memory.max").write_text(str(limit))
            self.peak, self.swap = self.path / "memory.peak", self.path / "memory.swap.max"
            if self.swap.exists():
                self.swap.write_text("0")
        else:
            (self.path / "memory.limit_in_bytes").write_text(str(limit))
            self.peak = self.path / "memory.max_usage_in_bytes"

    def close(self):
        self.path.rmdir()


# The peak that a parent is told counts what it was itself before the program took its place, so that the parent is a small one.
# CI: without the cache, for what is known takes no memory.
PARENT = """
import os, sys
if sys.argv[1]:
    open(sys.argv[1], "w").write(str(os.getpid()))
child = os.posix_spawn(sys.argv[2], sys.argv[2:], {"PATH": "", "HOME": "/", "CI": "true"})
_, status, usage = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, file=open(3, "w"))
"""


def run(binary, command, work, group=None):
    """Exit code, peak of resident memory, and what was said on stderr and stdout."""
    words = [sys.executable, "-SEIs", "-c", PARENT, str(group.path / "cgroup.procs") if group else "", str(binary), *map(str, command)]
    files = [os.open(work / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600) for name in ("stdout", "stderr", "usage")]
    actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), *((os.POSIX_SPAWN_DUP2, fd, at + 1) for at, fd in enumerate(files))]
    os.waitpid(os.posix_spawn(sys.executable, words, os.environ, file_actions=actions), 0)
    for fd in files:
        os.close(fd)
    out, err, usage = ((work / name).read_bytes()[:40_000].decode(errors="replace") for name in ("stdout", "stderr", "usage"))
    # Where the kernel ended the parent, too, nothing is known.
    code, peak = map(int, usage.split()) if usage else (-9, 0)
    return code, peak, err, out


def planned(binary, command, work):
    """The memory that `--dry-run` announces; none where there is nothing to plan."""
    if command[0] == "inspect":
        return None
    code, _, _, out = run(binary, [*command, "--dry-run"], work)
    found = re.search(r"^ memory +([\d.]+ [KMG]?i?B) at most", out, re.M)
    rows = re.search(r"^ report +([\d.]+ [KMG]?i?B) beside", out, re.M)
    return size(found[1]) + (size(rows[1]) if rows else 0) if code == 0 and found else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--limits", nargs="+", default=["64M", "200M", "1G"])
    parser.add_argument("--only", default="", help="files whose path has this in it")
    parser.add_argument("--group", action="store_true", help="limit by a control group, not by --memory")
    parser.add_argument("--all", action="store_true", help="print every run")
    options = parser.parse_args()
    binary = pathlib.Path(options.binary).resolve()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="svdkit-memory-"))
    worst, runs, bad = collections.defaultdict(lambda: (0, "")), 0, 0
    for path, is_odd in subjects(scratch / "odd", options.only):
        for command in commands(path, is_odd):
            for limit in options.limits:
                group = Group(size(limit)) if options.group else None
                asked = command if group or command[0] == "inspect" else [*command, "--memory", limit]
                code, peak, said, _ = run(binary, asked, scratch, group)
                if group:
                    group.close()
                most = size(limit) + (0 if group else MORE)
                wrong = [f"exit code {code}"] if code not in (0, 2) else []
                wrong += ["a panic"] if "panicked" in said else []
                wrong += [f"{peak >> 20} MB at a limit of {limit}"] if peak > most else []
                if is_odd and not group and code == 0:
                    announced = planned(binary, asked, scratch)
                    wrong += [f"{peak >> 20} MB, announced {announced >> 20}"] if announced and peak > announced + MORE else []
                runs += 1
                worst[limit] = max(worst[limit], (peak, " ".join(map(str, command))))
                if wrong or options.all:
                    bad += bool(wrong)
                    print(f"{limit}: {', '.join(wrong) or f'{peak >> 20} MB'}: {' '.join(map(str, asked))}\n  {said[:200].strip()}", flush=True)
        if is_odd:
            shutil.rmtree(path if path.is_dir() else path.parent)
    for limit, (peak, command) in worst.items():
        print(f"{limit}: at most {peak >> 20} MB, in {command}")
    print(f"{runs} runs; {bad} bad")
    shutil.rmtree(scratch)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
