"""`svdkit.spectrum` on a model in memory beside `svdkit spectrum` on its file: time and memory, in turns.

    python tests/bench/memory_models.py [ROUNDS] [FOLDER]

Makes GPT-2's shapes in f32 (474 MiB) with numpy. Ways: the command on a file in the page cache; the function, whose program
reads the tensors where they lie; the function with a written file, in FOLDER (default /var/tmp) and in /dev/shm.
Seconds are of the clock, and of all processors. Peaks are of resident memory that is not the file's or the model's: the
program's own, and what this process and shared memory have more than before. Needs svdkit and numpy.
"""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import numpy

import svdkit
from side_by_side import models
from svdkit import _run, _tensors

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
FOLDER = sys.argv[2] if len(sys.argv) > 2 else "/var/tmp"
MIB = 1 << 20


def weights():
    """The same each time, as tests/bench/side_by_side.py makes them."""
    random = numpy.random.default_rng(1)
    made = {}
    for name, (rows, cols) in models(False)["gpt2"][1].items():
        uneven = numpy.exp(0.3 * random.standard_normal(cols, dtype=numpy.float32))
        weight = random.standard_normal((rows, cols), dtype=numpy.float32) * (0.02 * uneven)
        strong = 0.3 / numpy.arange(1, 17, dtype=numpy.float32) / numpy.sqrt(cols)
        left = random.standard_normal((rows, 16), dtype=numpy.float32)
        weight += (left * strong) @ random.standard_normal((16, cols), dtype=numpy.float32)
        made[f"{name}.weight"] = weight
    return made


def shared():
    """Bytes of shared memory in use on the machine."""
    lines = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    return int(lines["Shmem"].split()[0]) * 1024


def resident(pid, kind):
    """Bytes of a process in memory: RssAnon, its own."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(kind))
    except (OSError, StopIteration):
        return 0


class Watch:
    """The peaks of memory while something runs."""

    def __enter__(self):
        self.program = self.own = self.shared = 0
        self.before = resident("self", "RssAnon"), shared()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        while not self.done.wait(0.02):
            children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            self.program = max(self.program, *(resident(child, "RssAnon") for child in children), 0)
            self.own = max(self.own, resident("self", "RssAnon") - self.before[0])
            self.shared = max(self.shared, shared() - self.before[1])

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def of_command(path, _):
    subprocess.run([svdkit.find_program(), "spectrum", path, "-q", "-o", path + ".json"], check=True, stdout=subprocess.DEVNULL)


def of_memory(_, model):
    assert len(svdkit.spectrum(model, quiet=True)) == 50


def of_copy(folder):
    def run(_, model):
        borrow, roomy = _tensors._own_memory, _tensors._roomy
        _tensors._own_memory, _tensors._roomy = lambda: None, lambda: folder
        try:
            of_memory(_, model)
        finally:
            _tensors._own_memory, _tensors._roomy = borrow, roomy

    return run


WAYS = {
    "command, file": of_command,
    "function, in place": of_memory,
    f"function, copy in {FOLDER}": of_copy(FOLDER),
    "function, copy in /dev/shm": of_copy("/dev/shm"),
}
os.environ["CI"] = "true"  # No cache.
with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
    model = weights()
    with _tensors.Stage(borrow=False) as stage:
        path = os.path.join(folder, "model.safetensors")
        os.replace(os.path.join(stage.model(model, "model"), "model.safetensors"), path)
    runs = {name: [] for name in WAYS}
    for turn in range(ROUNDS + 1):
        for name, way in WAYS.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
            begun = time.perf_counter()
            with Watch() as watch:
                way(path, model)
                seconds = time.perf_counter() - begun
            after = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
            spent = sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after))
            if turn:  # The first warms the page cache.
                runs[name].append((seconds, spent, watch.program, watch.own, watch.shared))
    first = None
    for name, rounds in runs.items():
        seconds, spent, program, own, memory = map(statistics.median, zip(*rounds))
        first = first or (seconds, spent)
        print(f"{name:30} {seconds:6.3f} s {seconds / first[0]:5.2f}   {spent:6.3f} s of processors {spent / first[1]:5.2f}   "
              f"program {program / MIB:4.0f} MiB, this process {own / MIB:+4.0f}, shared {memory / MIB:+4.0f}")  # fmt: skip
    print(json.dumps({name: [round(run[0], 3) for run in rounds] for name, rounds in runs.items()}))
