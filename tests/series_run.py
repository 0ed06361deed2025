"""Trains a small language model for 40 checkpoints, plants a divergence in one layer, a copy and a half-written step, and
checks what `svdkit series` says of them, and that TensorBoard reads its event file value for value. Then another process
writes the same run again, slowly and as Trainer does, while `svdkit watch` is beside it: whole, and with old checkpoints
deleted and the watch killed at random moments. Both give the bytes of `svdkit series`.

    python3 tests/series_run.py svdkit [DIR]

Needs torch, safetensors and numpy; for the event file also tensorboard.
"""

import copy
import json
import math
import multiprocessing
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from torch import nn

BLOCKS, WIDTH, HEADS, CONTEXT, BATCH = 4, 64, 4, 32, 8
STEPS, EVERY = 400, 10
DIVERGES, LAYER, COPY, CUT = 260, 2, 150, 320
TEXT = (
    "a matrix is an expression over stored bytes. a study is a list of keyed tasks over expressions. "
    "what tasks find are records, written as they are found. a report is records read in order. "
) * 40


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.up_proj, self.down_proj = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        y = self.norm(x)
        split = lambda z: z.view(*z.shape[:2], HEADS, WIDTH // HEADS).transpose(1, 2)
        q, k, v = split(self.q_proj(y)), split(self.k_proj(y)), split(self.v_proj(y))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o_proj(y.transpose(1, 2).reshape(x.shape))
        return x + self.down_proj(nn.functional.gelu(self.up_proj(x)))


class Model(nn.Module):
    def __init__(self, letters):
        super().__init__()
        self.embed, self.position = nn.Embedding(letters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.head = nn.Linear(WIDTH, letters, bias=False)

    def forward(self, x):
        x = self.embed(x) + self.position(torch.arange(x.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def train(folder):
    """Two runs with checkpoints as Trainer names them: `sound`, and `planted`, which is the same until a layer diverges."""
    # Small matrices on several threads only wait for each other.
    torch.set_num_threads(1)
    torch.manual_seed(1)
    letters = sorted(set(TEXT))
    data = torch.tensor([letters.index(c) for c in TEXT])
    model = Model(len(letters))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)

    def go_on(run, steps, planted):
        for step in steps:
            optimizer.param_groups[0]["lr"] = 1e-3 * min(1, step / 50) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
            at = torch.randint(len(data) - CONTEXT - 1, (BATCH,))
            batch = torch.stack([data[i : i + CONTEXT + 1] for i in at])
            loss = nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if planted:
                # Queries that grow by a rank-one part, as in a run whose attention blows up.
                with torch.no_grad():
                    w = model.layers[LAYER].q_proj.weight
                    u, s, v = torch.linalg.svd(w)
                    w += 0.06 * s[0] * torch.outer(u[:, 0], v[0])
            if step % EVERY == 0:
                checkpoint(run / f"checkpoint-{step}", model, step, loss.item())

    sound, planted = folder / "sound", folder / "planted"
    go_on(sound, range(1, DIVERGES), False)
    shutil.copytree(sound, planted)
    state = copy.deepcopy((model.state_dict(), optimizer.state_dict(), torch.get_rng_state()))
    go_on(sound, range(DIVERGES, STEPS + 1), False)
    model.load_state_dict(state[0])
    optimizer.load_state_dict(state[1])
    torch.set_rng_state(state[2])
    go_on(planted, range(DIVERGES, STEPS + 1), True)
    shutil.copy(planted / f"checkpoint-{COPY - EVERY}/model.safetensors", planted / f"checkpoint-{COPY}/model.safetensors")
    cut = planted / f"checkpoint-{CUT}/model.safetensors"
    cut.write_bytes(cut.read_bytes()[:20000])


def checkpoint(place, model, step, loss):
    place.mkdir(parents=True)
    tensors = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, place / "model.safetensors")
    (place / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": [{"loss": loss}]}))


def series(svdkit, run, *options):
    began = time.time()
    done = subprocess.run([svdkit, "series", str(run), "--format", "json", "-q", *options], capture_output=True, check=True)
    print(f"series {' '.join(options)}: {time.time() - began:.1f} s", flush=True)
    return json.loads(done.stdout)


def findings(report):
    return {finding["name"]: finding for finding in report["findings"]}


def read_by_tensorboard(folder, report):
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        print("tensorboard is not there; its file was not read")
        return
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    columns = {tag.split("/", 1)[0] for tag in events.Tags()["scalars"]}
    count = 0
    for row in report["rows"]:
        for column in columns:
            values = row["course"][column]
            expected = [(step["step"], value) for step, value in zip(report["steps"], values) if value is not None]
            read = [(event.step, event.value) for event in events.Scalars(f"{column}/{row['name']}")]
            assert read == [(step, float(numpy.float32(value))) for step, value in expected], (row["name"], column)
            count += len(read)
    print(f"tensorboard reads {count} values of {', '.join(sorted(columns))}, all equal")


def write(source, run, steps, limit, seed):
    """Saves the checkpoints of `source` again in `run`: slowly, under a temporary name or in place, `limit` at a time."""
    random.seed(seed)
    kept = []
    for step in steps:
        name = f"checkpoint-{step}"
        under = run / (f"tmp-{name}" if step % 20 else name)
        under.mkdir(parents=True)
        whole = (source / name / "model.safetensors").read_bytes()
        with open(under / "model.safetensors", "wb", buffering=0) as file:
            for at in range(0, len(whole), 100_000):
                file.write(whole[at : at + 100_000])
                time.sleep(random.uniform(0, 0.03))
        if step % 20:
            under.rename(run / name)
        time.sleep(random.uniform(0, 0.1))
        shutil.copy(source / name / "trainer_state.json", run / name)
        kept.append(run / name)
        if limit and len(kept) > limit:
            shutil.rmtree(kept.pop(0))
        time.sleep(0.15)


def watched(svdkit, folder, limit, kills):
    """Watches a run while it is written; `series` gives the same of the steps that were seen."""
    source, run = folder / "planted", folder / "live"
    steps = [step for step in range(EVERY, STEPS + 1, EVERY) if not limit or step != CUT]
    shutil.rmtree(run, ignore_errors=True)
    ledger, stop = folder / f"ledger-{limit}", folder / "stop"
    shutil.rmtree(ledger, ignore_errors=True)
    stop.unlink(missing_ok=True)
    files = [folder / f"watch.{ending}" for ending in ["json", "csv", "html"]]
    outputs = [word for file in files for word in ["-o", str(file)]]
    options = ["--interval", "0.1", "--ledger", str(ledger), "--until-file", str(stop), "--no-cache", *outputs]
    command = [svdkit, "watch", str(run), "--tensorboard", str(folder / "live-events"), "--format", "jsonl", *options]
    began = time.time()
    writer = multiprocessing.Process(target=write, args=(source, run, steps, limit, 7))
    writer.start()
    killed = 0
    while kills and writer.is_alive():
        watch = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        known, began_here = length(ledger), time.time()
        # At any moment, or somewhere behind the next record: on a busy machine it would get nowhere otherwise.
        while killed % 2 and length(ledger) == known and time.time() < began_here + 20 and writer.is_alive():
            time.sleep(0.01)
        time.sleep(random.uniform(0, 1))
        watch.kill()
        watch.wait()
        killed += 1
    if kills:
        stop.touch()
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if not kills:
        writer.join()
        stop.touch()
    out, told = watch.communicate()
    writer.join()
    assert watch.returncode == 0, told
    assert killed > 4 or not kills, killed
    seconds = time.time() - began
    report = json.loads(files[0].read_text())
    seen = [step["step"] for step in report["steps"]]
    assert len(seen) > limit if limit else seen == steps, seen
    shutil.rmtree(run)
    for step in seen:
        shutil.copytree(source / f"checkpoint-{step}", run / f"checkpoint-{step}")
    theirs = [folder / f"series.{ending}" for ending in ["json", "csv", "html"]]
    command = [svdkit, "series", str(run), "--tensorboard", str(folder / "series-events"), "--format", "jsonl"]
    command += [word for file in theirs for word in ["-o", str(file)]]
    series = subprocess.run(command, capture_output=True, check=True)
    assert out == series.stdout, "stdout differs"
    events = [folder / f"{name}/events.out.tfevents.0.svdkit" for name in ["live-events", "series-events"]]
    for a, b in [*zip(files, theirs), events]:
        assert a.read_bytes() == b.read_bytes(), f"{a.name} differs"
    print(f"watch, {limit or 'all'} checkpoints kept, killed {killed} times: {len(seen)} of {len(steps)} steps, {seconds:.0f} s")
    return told.decode(), report


def length(ledger):
    try:
        return (ledger / "steps.jsonl").stat().st_size
    except FileNotFoundError:
        return 0


# A small process in between: a child of this one would be counted with its memory.
MEASURED = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss / 1024, used.ru_utime + used.ru_stime)"""


def measured(command):
    """The memory that a command takes at most, in MiB, and its time on processors."""
    done = subprocess.run([sys.executable, "-S", "-c", MEASURED, *command], capture_output=True, check=True)
    memory, seconds = map(float, done.stdout.split())
    return memory, seconds


def main():
    svdkit = sys.argv[1]
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
    if not (folder / "planted").exists():
        began = time.time()
        train(folder)
        print(f"trained {STEPS // EVERY} checkpoints of two runs: {time.time() - began:.0f} s", flush=True)
    events = folder / "events"
    report = series(svdkit, folder / "planted", "--tensorboard", str(events))
    found = findings(report)
    for finding in report["findings"]:
        print(f"  {finding['level']} {finding['name']}: {finding['sentence']}")
    planted = f"layers.{LAYER}.q_proj"
    assert found["jump"]["matrices"][0] == planted, found["jump"]
    assert f"from step {DIVERGES} to step {DIVERGES + EVERY} (" in found["jump"]["sentence"], found["jump"]
    assert found["drift-up"]["matrices"] == [planted], found["drift-up"]
    assert found["identical-step"]["sentence"].startswith(f"Step {COPY} holds the weights of step {COPY - EVERY}")
    assert found["incomplete-step"]["sentence"].startswith(f"Step {CUT} is left out: "), found["incomplete-step"]
    read_by_tensorboard(events, report)
    of_steps = {"jump", "drift-up", "gap", "identical-step", "incomplete-step", "rank-collapsed-at-step"}
    sound = findings(series(svdkit, folder / "sound"))
    for name in sorted(of_steps & set(sound)):
        print(f"  sound run: {name}: {sound[name]['sentence']}")
    assert not of_steps & set(sound), sorted(of_steps & set(sound))
    first = folder / "planted" / f"checkpoint-{EVERY}"
    drift = series(svdkit, folder / "planted", "--base", str(first), "--columns", "delta_effective_rank")
    ranks = next(row for row in drift["rows"] if row["name"] == planted)["course"]["delta_effective_rank"]
    print(f"  effective rank of {planted} − step {EVERY}: {[rank and round(rank, 1) for rank in ranks]}")
    told, report = watched(svdkit, folder, None, False)
    found = findings(report)
    assert f"from step {DIVERGES} to step {DIVERGES + EVERY} (" in found["jump"]["sentence"], found["jump"]
    assert found["incomplete-step"]["sentence"].startswith(f"Step {CUT} is left out: "), found["incomplete-step"]
    lines = told.splitlines()
    for line in lines:
        print(f"  {line}")
    assert any(line.startswith(f"step {DIVERGES + EVERY}: {planted} ") and "jump" in line for line in lines), told
    assert any(line.startswith(f"step {COPY}: repeats step {COPY - EVERY}") for line in lines), told
    assert sum(line.startswith(f"step {CUT} ") for line in lines) == 1, told
    watched(svdkit, folder, 8, True)
    cost(svdkit, folder)
    print("all as planted")


def cost(svdkit, folder):
    """Forty checkpoints take the time of forty spectra at most, copies less, in the memory of one."""
    options = ["--no-cache", "-j", "1"]
    checkpoints = sorted((folder / "sound").iterdir())
    single = [measured([svdkit, "spectrum", str(checkpoint), *options]) for checkpoint in checkpoints]
    spectra = max(memory for memory, _ in single), sum(seconds for _, seconds in single)
    run = measured([svdkit, "series", str(folder / "sound"), *options])
    copies = folder / "copies"
    for step in range(EVERY, STEPS + 1, EVERY):
        if not (copies / f"checkpoint-{step}").exists():
            shutil.copytree(folder / "sound" / "checkpoint-10", copies / f"checkpoint-{step}", ignore=shutil.ignore_patterns("*.json"))
    same = measured([svdkit, "series", str(copies), *options])
    for name, (memory, seconds) in [("40 spectra", spectra), ("series of 40", run), ("series of 40 copies", same)]:
        print(f"  {name}: {seconds:.2f} s of processors, {memory:.0f} MiB")
    assert run[1] < 1.2 * spectra[1] and same[1] < run[1] / 2 and run[0] < 1.5 * spectra[0]


main()
