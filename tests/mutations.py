"""Damages real files at random and hands them to the program: it opens them or says in one line why not.

    python3 tests/mutations.py target/release/svdkit            # 10,000 cases on fixtures/
    python3 tests/mutations.py target/release/svdkit FOLDER --cases 500

Promised of every case: exit code 0 or 2, and 1 where a rule is judged; after 2, one line `error: …` at the end; no panic, no
control character, less than 200 MB of memory, an end. A case that breaks a promise is printed with its seed and
its command, and its folder is kept. tests/mutations.rs does the same within the library in every test run.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASE = ROOT / "fixtures/charlm/base"
LARGEST = 3_000_000
MEMORY, SECONDS = 200 << 20, 60
WORDS = ["0", "-1", "1", "2", "1e3", "4294967296", "9223372036854775807", "18446744073709551616", "1e400", "null", "true",
         "[]", "{}", '"F32"', '"BF16"', '"F8_E4M3"', '"\\u0000"', '"\\u001b[31m"', '"../../x"', "NaN"]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


def damaged(data, rng):
    """`data` with one to four things wrong."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not data:
            return data
        # The first kilobytes hold a header or a pickle, the last ones a zip's directory.
        end = rng.choice([len(data), min(len(data), 2000)])
        at = rng.randrange(end) if rng.random() < 0.75 else max(0, len(data) - 1 - rng.randrange(1200))
        kind = rng.randrange(9)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data += bytes(rng.randrange(256) for _ in range(rng.randrange(1, 64)))
        elif kind == 4:
            del data[at:at + rng.randrange(1, 64)]
        elif kind == 5:
            data[at:at] = data[at:at + rng.randrange(1, 200)]
        elif kind == 6:
            value = rng.choice([0, 1, 0x7fffffff, 0xffffffff, 1 << 60, (1 << 64) - 1])
            data[at:at + 8] = value.to_bytes(8, "little")
        else:
            # A number, a name or a value of a text becomes another.
            words = list(re.finditer(rb'-?\d+|"[^"\n]{0,80}"', bytes(data[:20_000])))
            if words:
                word = rng.choice(words)
                data[word.start():word.end()] = rng.choice(WORDS).encode()
    return data


def subjects(folders):
    """The files to be damaged; what is malformed already is none."""
    paths = [path for folder in folders for path in sorted(pathlib.Path(folder).rglob("*"))]
    wanted = lambda path: path.suffix not in {".md", ".py"} and not {"bad", "oracle"} & set(path.parts)
    return [path for path in paths if path.is_file() and wanted(path) and 0 < path.stat().st_size <= LARGEST]


def written(binary, folder):
    """A saved report and a file of settings, which the fixtures do not hold."""
    report, settings = folder / "report/report.json", folder / "settings/svdkit.toml"
    for path in (report, settings):
        path.parent.mkdir()
    subprocess.run([binary, "spectrum", BASE, "-q", "-o", report], stdout=subprocess.DEVNULL, check=True)
    example = re.search(r"```toml\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.S)
    settings.write_text(example.group(1))
    # Each as often as a dozen of the checkpoints' files.
    return [report, settings] * 12


def commands(victim, root, rng):
    """What is asked of the checkpoint `root`, of which `victim` was damaged."""
    if victim.name == "svdkit.toml":
        return rng.choice([["config", "--config", victim], ["compare", BASE, BASE, "--config", victim]])
    if (root / "adapter_config.json").exists():
        return rng.choice([["intruders", BASE, root], ["spectrum", root], ["inspect", root]])
    if victim.name == "report.json":
        return ["compare", victim, BASE, "--fail-if", "alpha > 100"]
    return rng.choice([["spectrum", root], ["inspect", root], ["rank", root], ["farms", root], ["compare", root, root],
                       ["compare", BASE, root], ["spectrum", root, "--no-svd", "--strict"], ["spectrum", victim]])


def run(binary, seed, victims):
    """One case: nothing, or what is wrong, with the exit code, the peak of memory and the seconds taken."""
    rng = random.Random(seed)
    source = rng.choice(victims)
    work = pathlib.Path(tempfile.mkdtemp(prefix=f"svdkit-mutation-{seed}-"))
    whole = source.parent if sum(p.stat().st_size for p in source.parent.iterdir() if p.is_file()) < LARGEST else None
    root = work / "model"
    if whole and len(list(whole.iterdir())) <= 12:
        shutil.copytree(whole, root)
        victim = root / source.name
    else:
        root.mkdir()
        victim = root / source.name
        shutil.copy(source, victim)
    victim.write_bytes(damaged(source.read_bytes(), rng))
    asked = commands(victim, root, rng)
    began = time.monotonic()
    options = [] if asked[0] in {"config", "inspect"} else ["-q", "-j", "1"]
    child = subprocess.Popen([binary, *map(str, asked), *options], stdout=(work / "stdout").open("wb"),
                             stderr=(work / "stderr").open("wb"), cwd=work)
    code, peak = None, 0
    while code is None and time.monotonic() - began < SECONDS:
        done, status, usage = os.wait4(child.pid, os.WNOHANG)
        if done:
            code, peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
        else:
            time.sleep(0.005)
    if code is None:
        child.kill()
    took = time.monotonic() - began
    out, err = ((work / name).read_bytes().decode(errors="replace") for name in ("stdout", "stderr"))
    wrong = []
    if code not in (0, 2) and not (code == 1 and asked[0] == "compare"):
        wrong.append(f"exit code {code}")
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    # With rows lost each says so in a line of its own; a command that cannot begin says one.
    if code == 2 and not errors:
        wrong.append("no line `error: …`")
    if "panicked" in err or "RUST_BACKTRACE" in err:
        wrong.append("a panic")
    if CONTROL.search(out) or CONTROL.search(err):
        wrong.append("a control character")
    if peak > MEMORY:
        wrong.append(f"{peak >> 20} MB")
    if wrong:
        return seed, [", ".join(wrong), " ".join(map(str, child.args)), err[:600]], code, peak, took
    shutil.rmtree(work)
    return seed, None, code, peak, took


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("folders", nargs="*", default=[str(ROOT / "fixtures")])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    binary = os.path.abspath(options.binary)
    scratch = tempfile.TemporaryDirectory(prefix="svdkit-mutations-")
    victims = subjects(options.folders) + written(binary, pathlib.Path(scratch.name))
    codes, worst, slowest, bad = collections.Counter(), 0, 0.0, 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        seeds = range(options.seed, options.seed + options.cases)
        for seed, wrong, code, peak, took in pool.map(lambda seed: run(binary, seed, victims), seeds):
            codes[code] += 1
            worst, slowest = max(worst, peak), max(slowest, took)
            if wrong:
                bad += 1
                print(f"seed {seed}:", *wrong, sep="\n  ", flush=True)
    counts = ", ".join(f"{count} ended with {code}" for code, count in sorted(codes.items(), key=str))
    print(f"{options.cases} cases on {len(victims)} files: {counts}; peak {worst >> 20} MB; slowest {slowest:.1f} s; {bad} bad")
    sys.exit(bad > 0)


main()
