"""Damages real inputs at random and hands them to the program: it works with them or says in one line why not.

    python3 tests/mutations.py target/release/svdkit                  # 10,000 cases
    python3 tests/mutations.py target/release/svdkit --cases 100000   # the whole campaign
    python3 tests/mutations.py target/release/svdkit --seed 4711 --cases 1   # one case again; its folder is kept

A case damages one of: a checkpoint of any format, an index, an adapter or its settings, a saved report, `svdkit.toml`, a rule, or
another option. It runs a command in a random output format under a limit of address space, at low priority, and checks:

- the exit code is 0, 1 or 2, and 1 only where a rule was judged; after 2 there is a line `error: …`, exactly one if nothing else
  came out; no panic;
- no character that drives a terminal or hides on stdout, on stderr or in a file of `-o`; JSON and XML parse; no CSV cell is a formula; no
  line is a command of a build server that is not svdkit's own;
- less than 200 MB of memory, less than 10 seconds of a processor, an end.

A case that breaks a promise is printed with its seed and its command, and its folder is kept. tests/mutations.rs and
tests/program/mutated_texts.rs do the same with a small sample in every test run.
"""

import argparse
import collections
import csv
import io
import json
import multiprocessing
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
BASE = FIXTURES / "dialects/base"
LARGEST = 200_000
# Seconds are those of a processor; a case that waits for something is ended after six times as many by the clock.
MEMORY, SECONDS, ADDRESSES = 200 << 20, 10, 4 << 30

HOSTILE = ["\x1b[31m", "\x9b2J", "\u202e", "\u200b", "\x7f", "\x85", "\u2028", "\r\n::error::x", "::add-mask::x", "##vso[task.complete]x",
           "##[error]x", "=1+1", "@SUM(A1)", "-2+3", "\t=x", "+x", "[x](http://x.y)", "![x](y)", "<img src=x onerror=y>", "</script>",
           "`|`", "a|b", "''", "\\u{1b}", "😀\ufe0f", "\ufffe", "\ufeff", "%0A", "]]>", "a;=1"]
NUMBERS = ["0", "-1", "1", "2", "1e3", "4294967296", "9223372036854775807", "18446744073709551616", "1e400", "-1e400", "1e-320", "null",
           "true", "[]", "{}", "NaN", "0.5", '"1"']
WORDS = ['"F32"', '"BF16"', '"F8_E4M3"', '""', '"\\u0000"', '"../../x"', '"/etc/passwd"', '"\\ud800"', '"name"', '"weight_map"']
HIDDEN = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
                    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff]")
FORMULA = re.compile(r"^[\s\"'`]*[=+\-@＝＋－＠]")
COMMAND = re.compile(r"^\s*::|##\[|##vso\[|##teamcity\[", re.M)

COLUMNS = ["alpha", "effective_rank", "spectral_norm", "nonfinite_count", "condition_number", "zero_rows", "stable_rank", "max_abs"]


def hostile(text, rng):
    """`text` with something in it that an output could be hurt by."""
    cut = rng.choice([0, len(text), rng.randrange(len(text) + 1)])
    return text[:cut] + rng.choice(HOSTILE) + text[cut:]


def renamed(value, rng):
    """A JSON value one of whose texts or keys is hostile; its form stays."""
    if isinstance(value, dict) and value:
        old = rng.choice(list(value))
        if not isinstance(value[old], (dict, list, str)) or rng.random() < (0.9 if "data_offsets" in str(value[old]) else 0.1):
            return {hostile(key, rng) if key == old else key: inner for key, inner in value.items()}
        return {key: renamed(inner, rng) if key == old else inner for key, inner in value.items()}
    if isinstance(value, list) and value:
        at = rng.randrange(len(value))
        return [renamed(inner, rng) if i == at else inner for i, inner in enumerate(value)]
    return hostile(value, rng) if isinstance(value, str) else value


def gently(data, rng):
    """`data` with hostile names and texts and no other fault, so that they come as far as the output; None of other formats."""
    raw, header = bytes(data), b""
    if raw[8:9] == b"{":
        header, raw = raw[:8], raw[8:]
    body = raw[:int.from_bytes(header, "little")] if header else raw
    if re.match(rb"\s*\{", body):
        try:
            value = json.loads(body)
        except ValueError:
            return None
        for _ in range(rng.randrange(1, 4)):
            value = renamed(value, rng)
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode(errors="replace")
        return (len(text).to_bytes(8, "little") + text + raw[len(body):]) if header else text
    if b"[gate" in raw:
        texts = list(re.finditer(r'"[^"\n]*"', raw.decode()))
        text = rng.choice(texts)
        new = json.dumps(hostile(text.group()[1:-1], rng), ensure_ascii=False).replace("\x7f", "\\u007f")
        return (raw.decode()[:text.start()] + new + raw.decode()[text.end():]).encode()
    return None


def damaged(data, rng):
    """`data` with one to four things wrong, half of the time only in its texts."""
    if rng.random() < 0.5:
        sound = gently(data, rng)
        if sound is not None:
            return sound
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not data:
            return data
        # The first kilobytes hold a header or a pickle, the last ones a zip's directory.
        end = rng.choice([len(data), min(len(data), 2000)])
        at = rng.randrange(end) if rng.random() < 0.75 else max(0, len(data) - 1 - rng.randrange(1200))
        kind = rng.randrange(11)
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
            reworded(data, rng)
    return data


def reworded(data, rng):
    """Another number or text in place of one; what counts the bytes before it is kept true, so that the damage gets past the parser."""
    # A pickle counts its texts, a zip everything: there a text keeps its length.
    fixed = data[:2] == b"PK" or data[:1] == b"\x80" or data[:4] == b"GGUF"
    found = list(re.finditer(rb'[A-Za-z_][A-Za-z_.0-9]{3,}' if fixed else rb'-?\d[\d.e+-]*|"[^"\n]{0,80}"', bytes(data[:20_000])))
    if not found:
        return
    old = rng.choice(found)
    if fixed:
        new = rng.choice(HOSTILE).encode()[:len(old.group())]
        data[old.start():old.start() + len(new)] = new
        return
    if old.group().startswith(b'"'):
        inside = old.group()[1:-1].decode(errors="replace")
        cut = rng.randrange(len(inside) + 1)
        text = rng.choice(HOSTILE) + inside if rng.random() < 0.5 else inside[:cut] + rng.choice(HOSTILE) + inside[cut:]
        new = json.dumps(text, ensure_ascii=rng.random() < 0.5) if rng.random() < 0.8 else rng.choice(WORDS + NUMBERS)
    else:
        new = rng.choice(NUMBERS + WORDS)
    new = new.encode(errors="replace")
    data[old.start():old.end()] = new
    length = int.from_bytes(data[:8], "little")
    if old.start() >= 8 and old.end() <= length + 8 < len(data):
        data[:8] = (length + len(new) - len(old.group())).to_bytes(8, "little")


def text_damaged(text, rng):
    """A rule or another word of the command line with something wrong."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            text = text[:at] + rng.choice(HOSTILE + NUMBERS) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + rng.randrange(1, 4):]
        elif kind == 2:
            text = text[:at] + rng.choice("*?[]{}()<>=!%:@,\\'\" \n0x") + text[at:]
        elif kind == 3:
            text = text[:at] + text
        else:
            words = re.findall(r"\w+|\W", text) or [""]
            words[rng.randrange(len(words))] = rng.choice(COLUMNS + NUMBERS + HOSTILE)
            text = "".join(words)
    return text.replace("\0", "")


def subjects():
    """The files to be damaged, by what they are; what is malformed already is none."""
    kinds = collections.defaultdict(list)
    for path in sorted(FIXTURES.rglob("*")):
        if not path.is_file() or {"bad", "oracle", "conformance"} & set(path.parts) or not 0 < path.stat().st_size <= LARGEST:
            continue
        if path.name.endswith(".index.json") or path.name == "model_index.json":
            kinds["index"].append(path)
        elif path.name == "adapter_config.json" or "adapter" in path.name or "dialects" in path.parts and path.suffix == ".safetensors":
            kinds["adapter"].append(path)
        elif path.name == "config.json" or path.suffix not in {".md", ".py", ".json", ".txt", ".npz"} or path.name == "arrays.npz":
            kinds["checkpoint"].append(path)
    return kinds


def written(binary, folder):
    """Saved reports of every command, and a file of settings, which the fixtures do not hold."""
    model, other = FIXTURES / "formats/tied.safetensors", FIXTURES / "writers/mixer"
    made = [["spectrum", model], ["spectrum", other], ["spectrum", other, "--no-svd"], ["spectrum", BASE], ["rank", other], ["farms", other],
            ["compare", BASE, BASE, "--all"], ["spectrum", other, "--names", "weightwatcher"], ["intruders", BASE, FIXTURES / "dialects/dora"]]
    reports = {}
    for i, command in enumerate(made):
        reports[folder / f"{i}.json"] = command
        subprocess.run([binary, *command, "-q", "-o", folder / f"{i}.json"], stdout=subprocess.DEVNULL, check=True)
    settings = folder / "svdkit.toml"
    settings.write_text(re.search(r"```toml\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.S).group(1))
    return reports, settings


def judged(rng):
    """Rules as people write them."""
    line = rng.choice(["{} > 3", "{} < 1e-3", "*.0.*: {} > 2", "mean({}) < 1", "share({} > 1) > 10%", "{} != 0", "max({}) >= 5", "{} < 50%"])
    line = line.format(rng.choice(COLUMNS) + rng.choice(["", "", "_change", "_difference"]))
    return line.replace("*.0.*", rng.choice(HOSTILE) + "*") if rng.random() < 0.1 else line


def case(binary, rng, kinds, reports, settings, work):
    """The command line of one case, whose files lie in `work`."""
    kind = rng.choices(["checkpoint", "index", "adapter", "report", "settings", "rule", "option"], [36, 6, 14, 20, 8, 8, 8])[0]
    small = rng.choice([BASE, FIXTURES / "formats/sharded", FIXTURES / "writers/mixer", FIXTURES / "formats/tied.safetensors"])
    extra = []
    if kind in {"checkpoint", "index", "adapter"}:
        source = rng.choice(kinds[kind])
        root, folder = work / "model", source.parent
        files = [path for path in folder.iterdir() if path.is_file()]
        if len(files) <= 12 and sum(path.stat().st_size for path in files) < 3_000_000 and folder.name not in {"formats", "dialects", "writers"}:
            shutil.copytree(folder, root)
        else:
            root.mkdir()
            shutil.copy(source, root / source.name)
        victim = root / source.name
        victim.write_bytes(damaged(source.read_bytes(), rng))
        if kind == "adapter":
            command = rng.choice([["intruders", BASE, root], ["spectrum", root], ["inspect", root], ["compare", BASE, root], ["rank", root],
                                  ["spectrum", root, "--base", BASE], ["spectrum", victim], ["inspect", root, "--base", BASE],
                                  ["intruders", BASE, root, "--mitigate", "0", "--out", work / "out"],
                                  ["spectrum", root, "--adapter-config", FIXTURES / "charlm/lora-r1/adapter_config.json"]])
        else:
            command = rng.choice([["spectrum", root], ["inspect", root], ["rank", root], ["farms", root], ["compare", root, root],
                                  ["compare", small, root], ["spectrum", root, "--no-svd", "--strict"], ["spectrum", victim],
                                  ["compare", root, small, "--no-svd"], ["spectrum", root, "--base", small], ["spectrum", root, "--split-qkv"],
                                  ["spectrum", root, "--dry-run"], ["farms", root, "--allocate", "sparsity"], ["intruders", root, small],
                                  ["rank", root, "--emit", rng.choice(["peft-rank-pattern", "spectrum-yaml"]), "--budget", "2"],
                                  ["spectrum", root, "--singular-values", work / "values.safetensors"]])
    elif kind == "report":
        source = rng.choice(list(reports))
        victim = work / "report.json"
        victim.write_bytes(damaged(source.read_bytes(), rng))
        command = rng.choice([["compare", victim, reports[source][1]], ["compare", reports[source][1], victim], ["compare", victim, victim],
                              ["compare", source, victim], ["compare", victim, source, "--no-svd"], ["compare", source, "--tuned", f"a={victim}",
                              "--tuned", f"b={source}"], ["spectrum", victim], ["inspect", victim]])
    elif kind == "settings":
        victim = work / "svdkit.toml"
        victim.write_bytes(damaged(settings.read_bytes(), rng))
        command = rng.choice([["config", "--config", victim], ["config"], ["compare", small, small, "--config", victim], ["spectrum", small]])
    elif kind == "rule":
        command = rng.choice([["compare", small, small], ["spectrum", small], ["compare", *rng.choices(list(reports)[:2], k=2)]])
        extra = ["--fail-if", text_damaged(judged(rng), rng) if rng.random() < 0.7 else judged(rng)]
    else:
        command = rng.choice([["compare", small, small], ["spectrum", small], ["farms", small], ["rank", small], ["inspect", small]])
        option, value = rng.choice([("--include", "*.0.*"), ("--exclude", "model.layers.*"), ("--columns", "alpha,effective_rank"), ("--sort", "-alpha"),
                                    ("-o", "report.json"), ("-o", "csv=x.csv"), ("-o", "gitlab=x"), ("--format", "json"), ("--memory", "1G"), ("-j", "2"),
                                    ("--allocate", "sparsity=x.json"), ("--energy", "0.9,0.5"), ("--tuned", "a=b"), ("--config", "svdkit.toml"),
                                    ("--window", "10"), ("--preserve", "energy:0.9"), ("-k", "3"), ("--component", "unet")])
        value = text_damaged(value, rng)
        extra = [option, value if not value.startswith("-") else f"./{value}"]
    command = [str(word) for word in command] + extra
    formats = {"inspect": ["table", "json", "jsonl", "csv", "markdown"], "config": ["table", "json"]}
    formats = formats.get(command[0], ["table", "json", "jsonl", "csv", "markdown", "html", "junit", "github", "gitlab"])
    asked = next((command[i + 1] for i, word in enumerate(command) if word == "--format"), None)
    advice = {"--allocate", "--emit", "--dry-run"} & set(command)
    if asked is None and not advice:
        asked = rng.choice(formats)
        command += ["--format", asked]
    if command[0] not in {"inspect", "config"}:
        command += ["-q", "-j", "1"] if "-j" not in command else ["-q"]
        if kind != "rule" and rng.random() < 0.3:
            command += ["--fail-if", judged(rng)]
    if kind != "option" and command[0] != "config" and rng.random() < 0.2:
        command += ["-o", f"{asked or 'json'}=written"]
    return kind, command, None if advice else asked


def faults(command, form, code, out, err, peak, took):
    """The promises that were broken."""
    if code not in (0, 1, 2) or code == 1 and "--fail-if" not in command and "--config" not in command:
        yield f"exit code {code}"
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    if code == 2 and (not errors or not out and len(errors) != 1):
        yield f"{len(errors)} lines `error: …`"
    if code == 0 and errors:
        yield "an error and exit code 0"
    if "panicked" in err or "RUST_BACKTRACE" in err:
        yield "a panic"
    if peak > MEMORY:
        yield f"{peak >> 20} MB"
    if took > SECONDS:
        yield f"{took:.1f} s"
    for name, text in (("stdout", out), ("stderr", err)):
        if HIDDEN.search(text):
            yield f"a hidden character on {name}: {HIDDEN.search(text).group()!r}"
        if COMMAND.search(text) and not (form == "github" and name == "stdout"):
            yield f"a command of a build server on {name}: {COMMAND.search(text).group()!r}"
    try:
        if code in (0, 1) and form in ("json", "gitlab"):
            json.loads(out)
        elif form == "jsonl":
            [json.loads(line) for line in out.split("\n") if line]
        elif code in (0, 1) and form == "junit":
            xml.etree.ElementTree.fromstring(out)
        elif form == "github":
            assert all(line.startswith("::") for line in out.splitlines()), "a line that is no command"
        elif form == "csv":
            rows = list(csv.reader(io.StringIO(out)))
            assert len({len(row) for row in rows}) <= 1, "lines of several lengths"
            number = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?$")
            bad = [cell for row in rows for cell in row if FORMULA.match(cell) and not cell.startswith("'") and not number.match(cell)]
            assert not bad, f"a formula: {bad[0]!r}"
    except (ValueError, AssertionError, xml.etree.ElementTree.ParseError) as error:
        yield f"{form}: {error}"


STATE = {}


def prepare(binary, reports, settings, scratch):
    """A worker: low priority, and a limit of address space that its children have, too."""
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, lambda *_: os.kill(STATE["child"], signal.SIGKILL))
    STATE.update(binary=binary, kinds=subjects(), reports=reports, settings=settings, scratch=scratch)


def run(seed):
    """One case: its kind and exit code, the peak of memory, the seconds taken, and what is wrong."""
    rng = random.Random(seed)
    work = pathlib.Path(STATE["scratch"]) / str(seed)
    work.mkdir()
    kind, command, form = case(STATE["binary"], rng, STATE["kinds"], STATE["reports"], STATE["settings"], work)
    # A full pipe would stop it, so stdout and stderr are files beside the case.
    into = [(os.POSIX_SPAWN_OPEN, fd, str(work / name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            for fd, name in ((1, ".stdout"), (2, ".stderr"))]
    os.chdir(work)
    words = [os.fsencode(STATE["binary"]), *(word.encode(errors="replace") for word in command)]
    STATE["child"] = os.posix_spawn(STATE["binary"], words, {"PATH": "", "HF_HOME": str(work)}, file_actions=[
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), *into])
    signal.setitimer(signal.ITIMER_REAL, 6 * SECONDS)
    _, status, usage = os.wait4(STATE["child"], 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    code, peak, took = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime
    out, err = ((work / name).read_bytes().decode(errors="replace") for name in (".stdout", ".stderr"))
    wrong = list(faults(command, form, code, out, err, peak, took))
    if (work / "written").exists():
        wrong += (f"file: {what}" for what in faults(command, form or "json", code, (work / "written").read_text(), "error:\n" * (code == 2), 0, 0))
    if not wrong:
        shutil.rmtree(work)
    return seed, kind, code, peak, took, [", ".join(wrong), " ".join(map(repr, command)), err[:600]] if wrong else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    binary = os.path.abspath(options.binary)
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    scratch = tempfile.mkdtemp(prefix="svdkit-mutations-", dir=memory)
    made = pathlib.Path(scratch) / "made"
    made.mkdir()
    reports, settings = written(binary, made)
    codes, kinds, worst, slowest, bad = collections.Counter(), collections.Counter(), 0, 0.0, 0
    began = time.monotonic()
    with multiprocessing.Pool(options.jobs, prepare, (binary, reports, settings, scratch)) as pool:
        for seed, kind, code, peak, took, wrong in pool.imap_unordered(run, range(options.seed, options.seed + options.cases), 20):
            codes[code] += 1
            kinds[kind] += 1
            worst, slowest = max(worst, peak), max(slowest, took)
            if wrong:
                bad += 1
                print(f"seed {seed} ({kind}), {scratch}/{seed}:", *wrong, sep="\n  ", flush=True)
    seconds = time.monotonic() - began
    print(f"{options.cases} cases in {seconds:.0f} s ({options.cases / seconds:.0f} a second):",
          ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    print(", ".join(f"{count} ended with {code}" for code, count in sorted(codes.items())),
          f"peak {worst / (1 << 20):.0f} MB", f"slowest {slowest:.1f} s", f"{bad} bad", sep="; ")
    if not bad:
        shutil.rmtree(scratch)
    sys.exit(bad > 0)


if __name__ == "__main__":
    os.environ["CI"] = "true"  # without the cache: what is known takes no time
    main()
