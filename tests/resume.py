"""Kills runs with SIGKILL at random moments, resumes them, and compares what they print with an undisturbed run.

    python3 tests/resume.py target/release/svdkit [--kills 100]

Every command that takes `--ledger`, on the bundled models and on a generated one; with a cache and without, on one thread
and on several; now and then the last line of the ledger is cut as by a power failure. Needs Python alone.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHARLM = ROOT / "fixtures" / "charlm"


def commands(model):
    base, full, lora = (str(CHARLM / name) for name in ("base", "full", "lora-r4"))
    return [
        ["spectrum", model],
        ["spectrum", base, "--base", full],
        ["rank", base, "--energy", "0.8"],
        ["farms", base, "--window", "48", "--windows-per-dim", "5"],
        ["intruders", base, lora, "--detail"],
        ["compare", base, "--tuned", lora, "--tuned", full],
        ["heads", full, "--base", base],
        ["heads", base, "--compose"],
    ]


def run(binary, command, options, seconds=None):
    """What it prints; nothing where it was killed after so many seconds."""
    words = [binary, *command, "--format", "json", "-q", *options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"CI": "true"})
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    if process.returncode != 0:
        sys.exit(f"{' '.join(words)}: exit {process.returncode}: {err.decode()}")
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    binary = str(Path(arguments.binary).resolve())
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = str(folder / "model.safetensors")
        script = ROOT / "tests" / "cluster" / "model.py"
        subprocess.run([sys.executable, str(script), model, "24", "256", "320"], check=True)
        kills = runs = cuts = 0
        expected = {}
        while kills < arguments.kills:
            for at, command in enumerate(commands(model)):
                begun = time.monotonic()
                if at not in expected:
                    expected[at] = run(binary, command, [])
                    begun, whole = begun, time.monotonic() - begun
                    expected[at] = (expected[at], whole)
                wanted, whole = expected[at]
                ledger = folder / f"ledger-{runs}"
                runs += 1
                out = None
                while out is None:
                    options = ["--ledger", str(ledger), "--resume", "-j", str(chance.randint(1, 3))]
                    options += ["--cache", str(folder / "cache")] if chance.random() < 0.3 else []
                    # Half of the attempts may end.
                    out = run(binary, command, options, chance.uniform(0.0, 2.0) * whole)
                    part = ledger / "part-1-of-1.jsonl"
                    if out is None:
                        kills += 1
                        if chance.random() < 0.3 and part.exists():
                            text = part.read_bytes()
                            last = text.rfind(b"\n", 0, len(text) - 1) + 1
                            part.write_bytes(text[: chance.randint(last, len(text))])
                            cuts += 1
                if out != wanted:
                    Path("resumed.json").write_bytes(out)
                    Path("wanted.json").write_bytes(wanted)
                    sys.exit(f"{command}: other bytes after a resume: see resumed.json and wanted.json")
        print(f"{runs} runs with {kills} kills and {cuts} cut lines: the same bytes each time")


if __name__ == "__main__":
    main()
