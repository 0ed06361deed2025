"""svdkit.ray on a cluster of two nodes of one host, with a worker killed in mid-run.

    python tests/cluster/ray.py

Needs svdkit, ray and numpy. A part whose worker was killed is begun again by Ray and goes on where it ended; the report is,
to the byte, that of a single run. Exits with an error if one of this does not hold.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

# This script is called as the package that it needs.
sys.path = [entry for entry in sys.path if pathlib.Path(entry).resolve() != pathlib.Path(__file__).resolve().parent]

import ray  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

import svdkit  # noqa: E402
import svdkit.ray  # noqa: E402

PARTS = 6
BEGUN = time.monotonic()
MODEL = pathlib.Path(__file__).with_name("model.py")
WORDS = {"window": 128, "windows_per_dim": 12}


def say(text):
    print(f"[{time.monotonic() - BEGUN:5.1f} s] {text}", flush=True)


def workers():
    """Each program of a part, by its worker's process."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        pid, parent, words = line.split(None, 2)
        if "--partition=" in words and "svdkit" in words and str(ledger) in words:
            yield int(parent), int(pid), words.partition("--partition=")[2].split()[0]


def kill_one(killed):
    """Kills the first worker whose part has found something and not all."""
    while not killed:
        for parent, program, part in list(workers()):
            path = ledger / f"part-{part.replace('/', '-of-')}.jsonl"
            if path.exists() and len(path.read_bytes().splitlines()) > 2:
                os.kill(parent, signal.SIGKILL)
                say(f"killed -9 the worker of part {part}, with {len(path.read_bytes().splitlines()) - 1} records; "
                    f"its program {program} is left alone")  # fmt: skip
                killed.append(part)
                break
        time.sleep(0.02)


with tempfile.TemporaryDirectory() as folder:
    model, ledger = pathlib.Path(folder, "model.safetensors"), pathlib.Path(folder, "parts")
    subprocess.run([sys.executable, MODEL, model, "24", "768", "512"], check=True)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    say(f"nodes: {len([node for node in ray.nodes() if node['Alive']])}, processors: {ray.cluster_resources()['CPU']:.0f}")
    killed = []
    threading.Thread(target=kill_one, args=(killed,), daemon=True).start()
    report = svdkit.ray.run(str(model), "farms", partitions=PARTS, ledger=ledger, include="*proj", **WORDS)
    say(f"collected: {report!r}")
    assert killed, "no worker was killed in mid-run"
    single = svdkit.farms(model, include="*proj", **WORDS)
    assert report.json == single.json, "not the report of a single run"
    say("the bytes of a single run")
    try:
        svdkit.ray.run(str(model), "farms", partitions=2, ledger=pathlib.Path(folder, "none"), window="x")
        raise SystemExit("a bad option was taken")
    except svdkit.SvdkitError as error:
        assert str(error).startswith("invalid value 'x'"), error
        say(f"refused: {error}")
    ray.shutdown()
    cluster.shutdown()
