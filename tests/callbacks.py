"""Trains a tiny model with transformers' Trainer and with Lightning, with the callbacks of the package, and checks what is
logged, at which step, and that nothing which befalls svdkit ends or changes the training.

    python tests/callbacks.py PROGRAM [hf] [lightning] [pytorch_lightning] [loggers] [overhead]

Needs torch, transformers, accelerate and tensorboard; for Lightning `lightning` or `pytorch_lightning`; for `loggers` any of
wandb, mlflow and trackio, in their offline modes. Without a name, everything that is installed.
"""

import atexit
import importlib
import importlib.util
import json
import logging
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src/python"))
PROGRAM = shutil.which(sys.argv[1]) if len(sys.argv) > 1 else None
WORK = Path(tempfile.mkdtemp(prefix="svdkit-callbacks-"))
atexit.register(shutil.rmtree, WORK, True)
os.environ.update(CI="true", HF_HUB_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true", WANDB_DIR=str(WORK))
os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", TRACKIO_DIR=str(WORK / "trackio"), MLFLOW_EXPERIMENT_NAME="spectra")
os.environ.update(MLFLOW_TRACKING_URI=f"sqlite:///{WORK}/mlflow.db", MLFLOW_DISABLE_TELEMETRY="true")
STEPS, EVERY = 60, 20


class Warnings(logging.Handler):
    """What the logger `svdkit` warns of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []
        logging.getLogger("svdkit").addHandler(self)
        logging.getLogger("svdkit").propagate = False

    def emit(self, record):
        self.said.append(record.getMessage())

    def take(self):
        said, self.said = self.said, []
        return said

    def sound(self):
        """Nothing but checkpoints that gave way, where training is faster than svdkit."""
        return all(" 0 failed" in said for said in self.take())


warned = Warnings()


def program(script=None):
    """Puts `svdkit` on the path: the program itself, a shell script that has it as $SVDKIT, or, of an empty one, none."""
    folder = Path(tempfile.mkdtemp(dir=WORK))
    os.environ["PATH"] = f"{folder}:/usr/bin:/bin"
    if script is None:
        (folder / "svdkit").symlink_to(PROGRAM)
    elif script:
        (folder / "svdkit").write_text(f"#!/bin/sh\nSVDKIT={PROGRAM}\n{script}\n")
        (folder / "svdkit").chmod(0o755)


def medians(checkpoint):
    """What the callback is to log of a checkpoint, from the program's own report."""
    command = [PROGRAM, "spectrum", checkpoint, "--format", "json", "-q"]
    values = {}
    for row in json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["rows"]:
        for column in ("spectral_norm", "stable_rank", "effective_rank", "alpha"):
            if row[column] is not None:
                values.setdefault(f"spectrum/{row['role']}/{column}", []).append(row[column])
    return {tag: statistics.median(found) for tag, found in values.items()}


def model(width=64):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = dict(hidden_size=width, intermediate_size=3 * width, num_hidden_layers=2, num_attention_heads=4)
    return LlamaForCausalLM(LlamaConfig(vocab_size=256, max_position_embeddings=64, **sizes))


def texts(length=32):
    import torch

    text = torch.frombuffer(bytearray((ROOT / "README.md").read_bytes()), dtype=torch.uint8).long()
    chunks = text[: len(text) // length * length].view(-1, length)
    return [{"input_ids": chunk, "labels": chunk} for chunk in chunks]


def train(callback=True, loggers=(), width=64, steps=STEPS, every=EVERY, **options):
    """A run of transformers' Trainer: the trainer, and its folder."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    from svdkit.hf import SpectrumCallback

    folder = Path(tempfile.mkdtemp(dir=WORK))
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "events")
    arguments = TrainingArguments(
        output_dir=folder, max_steps=steps, save_steps=every, logging_steps=10, per_device_train_batch_size=2,
        report_to=list(loggers), use_cpu=True, disable_tqdm=True, seed=1, save_only_model=True,
    )  # fmt: skip
    trainer = Trainer(model(width), arguments, train_dataset=texts())
    trainer.remove_callback(PrinterCallback)
    if callback:
        trainer.add_callback(SpectrumCallback(trainer, **options))
    trainer.train()
    return trainer, folder


def spectra(trainer):
    """What the history of a run has of spectra, by step."""
    history = trainer.state.log_history
    return {entry["step"]: entry for entry in history if any(tag.startswith("spectrum/") for tag in entry)}


def losses(trainer):
    return [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def hf():
    program()
    plain, _ = train(callback=False)
    trainer, folder = train(loggers=["tensorboard"])
    assert warned.sound()
    found = spectra(trainer)
    assert STEPS in found and set(found) <= set(range(EVERY, STEPS + 1, EVERY)), list(found)
    for step, entry in found.items():
        for tag, value in medians(folder / f"checkpoint-{step}").items():
            assert entry[tag] == value, (step, tag, entry[tag], value)
    assert losses(trainer) == losses(plain), "the callback changed the training"
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "events"))
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if "spectrum/" in tag]
    assert {event.step for tag in tags for event in events.Scalars(tag)} == set(found), tags
    print(f"hf: {len(tags)} lines at steps {sorted(found)}, equal to `svdkit spectrum`; losses as without the callback")
    print("   ", ", ".join(sorted(tags)[:3]), "…")

    harms = {
        "no program": ("", {}),
        "killed with -9": ('"$SVDKIT" "$@" & kill -9 $!; wait $!', {}),
        "checkpoint deleted": ('rm -r "$2"; exec $SVDKIT "$@"', {}),
        "output on a full disk": ('exec $SVDKIT "$@" >/dev/full', {}),
        "prints something else": ("echo nothing", {}),
        "unknown option": (None, {"options": ["--colums"]}),
        "too slow": ("exec sleep 60", {"timeout": 0.5}),
    }
    for harm, (script, options) in harms.items():
        program(script)
        began = time.time()
        trainer, _ = train(**options)
        assert losses(trainer) == losses(plain), harm
        said = warned.take()
        assert len(said) == 2 and said[0].endswith("training goes on"), (harm, said)
        assert not spectra(trainer) and time.time() - began < 50, harm
        print(f"hf: {harm}: {said[0].replace(str(WORK), '…')} | {said[1]}")
    program()
    if os.geteuid() == 0:
        disk = WORK / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", disk], check=True)
        try:
            os.environ["TMPDIR"] = str(disk)
            trainer, _ = train(options=["--cache", str(disk / "cache")])
        finally:
            del os.environ["TMPDIR"]
            subprocess.run(["umount", disk], check=True)
        assert losses(trainer) == losses(plain) and STEPS in spectra(trainer)
        print(f"hf: cache and temporary folder on a full disk: measured all the same; warnings: {warned.take()}")
    crash()


def crash():
    """Training that ends by an exception leaves no svdkit behind; one that is killed while svdkit runs doesn't hang."""
    program("echo $$ >$PIDS; exec sleep 60")
    pids = WORK / "pids"
    script = (
        f"import sys; sys.argv = ['callbacks.py', {PROGRAM!r}]; sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "import callbacks, transformers, time, pathlib, os\n"
        "class Ends(transformers.TrainerCallback):\n"
        "    def on_step_end(self, args, state, control, **_):\n"
        "        while state.global_step > 25 and not pathlib.Path(os.environ['PIDS']).exists(): time.sleep(0.01)\n"
        "        if state.global_step > 25: raise RuntimeError('out of memory')\n"
        "from transformers import trainer as module\n"
        "module.DEFAULT_CALLBACKS.append(Ends)\n"
        f"os.environ['PATH'] = {os.environ['PATH']!r}\n"
        "callbacks.train()\n"
    )
    environment = {**os.environ, "PIDS": str(pids)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "out of memory" in done.stderr, done.stderr
    pid = int(pids.read_text())
    for _ in range(50):
        if not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.1)
    else:
        os.kill(pid, signal.SIGKILL)
        raise SystemExit("svdkit outlived its training")
    print("hf: training ended by an exception: it leaves no svdkit behind")


def lightning(package):
    import warnings

    import torch
    from torch.utils.data import DataLoader

    warnings.simplefilter("ignore")
    module = importlib.import_module({"lightning": "lightning.pytorch"}.get(package, package))
    from svdkit.lightning import SpectrumCallback

    logging.getLogger(module.__name__).setLevel(logging.ERROR)

    class Tiny(module.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model()

        def training_step(self, batch, _):
            loss = self.model(**batch).loss
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 1e-3)

    def run(callback, script=None, **options):
        program(script)
        folder = Path(tempfile.mkdtemp(dir=WORK))
        keep = module.callbacks.ModelCheckpoint(folder, every_n_train_steps=EVERY, save_top_k=-1)
        loggers = [module.loggers.CSVLogger(folder, "csv"), module.loggers.TensorBoardLogger(folder, "tb")]
        spectrum = [SpectrumCallback(**options)] if callback else []
        trainer = module.Trainer(
            max_steps=STEPS, callbacks=[keep, *spectrum], logger=loggers, accelerator="cpu", log_every_n_steps=10,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        module.seed_everything(1, verbose=False)
        trainer.fit(Tiny(), DataLoader(texts(), batch_size=2, shuffle=True))
        import pandas

        table = pandas.read_csv(folder / "csv/version_0/metrics.csv")
        return folder, table, table[["step", "loss"]].dropna().values.tolist()

    _, _, plain = run(False)
    folder, table, with_it = run(True)
    assert warned.sound() and with_it == plain, "the callback changed the training"
    tags = [tag for tag in table.columns if tag.startswith("spectrum/")]
    rows = table.dropna(subset=[tags[0]]).set_index("step")
    assert STEPS in rows.index and set(rows.index) <= {20, 40, 60}, rows.index
    for step in rows.index:
        [checkpoint] = folder.glob(f"*step={step}.ckpt")
        for tag, value in medians(checkpoint).items():
            assert abs(rows.loc[step, tag] - value) <= 1e-12 * abs(value), (step, tag)
    print(f"{package}: {len(tags)} lines at steps {sorted(rows.index)}, equal to `svdkit spectrum`; losses as without")
    for harm, script, options in [("no program", "", {}), ("killed with -9", '"$SVDKIT" "$@" & kill -9 $!; wait $!', {}),
                                  ("too slow", "exec sleep 60", {"timeout": 0.5})]:  # fmt: skip
        _, table, with_it = run(True, script, **options)
        said = warned.take()
        assert with_it == plain and len(said) == 2, (harm, said)
        assert not any(tag.startswith("spectrum/") for tag in table.columns)
        print(f"{package}: {harm}: {said[0].replace(str(WORK), '…')}")


def loggers():
    """W&B, MLflow and trackio through the Trainer, read back from what they wrote."""
    program()
    ran = []
    if importlib.util.find_spec("wandb"):
        trainer, _ = train(loggers=["wandb"])
        import wandb

        summary = dict(wandb.run.summary)
        wandb.finish()
        tag = "spectrum/self_attn.q_proj/stable_rank"
        assert summary[f"train/{tag}"] == spectra(trainer)[STEPS][tag], summary
        assert list((WORK / "wandb").glob("offline-run-*/*.wandb"))
        ran.append("wandb")
    if importlib.util.find_spec("mlflow"):
        trainer, _ = train(loggers=["mlflow"])
        import mlflow

        [run] = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("spectra").experiment_id])
        kept = mlflow.MlflowClient().get_metric_history(run.info.run_id, "spectrum/self_attn.q_proj/stable_rank")
        expected = {step: entry["spectrum/self_attn.q_proj/stable_rank"] for step, entry in spectra(trainer).items()}
        assert {metric.step: metric.value for metric in kept} == expected, kept
        ran.append("mlflow")
    if importlib.util.find_spec("trackio"):
        trainer, _ = train(loggers=["trackio"])
        import sqlite3

        [database] = (WORK / "trackio").rglob("*.db")
        rows = sqlite3.connect(database).execute("SELECT metrics FROM metrics").fetchall()
        kept = [json.loads(row) for (row,) in rows]
        tag = "spectrum/self_attn.q_proj/stable_rank"
        got = {row["train/global_step"]: row[f"train/{tag}"] for row in kept if f"train/{tag}" in row}
        assert got == {step: entry[tag] for step, entry in spectra(trainer).items()}, got
        ran.append("trackio")
    print(f"loggers: read back at their steps from {', '.join(ran) or 'none: none is installed'}; {warned.take()}")


def overhead():
    """A run with and without the callback, in turns: its seconds, and those of the training process on a processor."""
    program()
    width, steps, every, rounds = 192, 60, 20, 7
    clock, processor, plain = [], [], []
    for turn in range(rounds):
        took = {}
        for callback in [(True, False), (False, True)][turn % 2]:
            began = time.process_time()
            trainer, _ = train(callback, width=width, steps=steps, every=every)
            [summary] = [entry for entry in trainer.state.log_history if "train_runtime" in entry]
            took[callback] = summary["train_runtime"], time.process_time() - began
        clock.append(took[True][0] / took[False][0])
        processor.append(took[True][1] / took[False][1])
        plain.append(took[False][0] / steps)
    print(
        f"overhead: {rounds} pairs of {steps} steps with {steps // every} checkpoints, {1000 * statistics.median(plain):.0f} ms "
        "a step; ratios with ÷ without, median (least to greatest): "
        f"time of a step {statistics.median(clock):.3f} ({min(clock):.3f} to {max(clock):.3f}), "
        f"processor time of the training {statistics.median(processor):.3f} ({min(processor):.3f} to {max(processor):.3f})"
    )
    from svdkit.hf import SpectrumCallback

    [callback] = [one for one in train()[0].callback_handler.callbacks if isinstance(one, SpectrumCallback)]
    began = time.perf_counter()
    for _ in range(100_000):
        callback.on_step_end(None, None, None)
    print(f"overhead: the hook in a step without news: {(time.perf_counter() - began) * 10:.2f} µs")


def main():
    if not PROGRAM:
        raise SystemExit(__doc__)
    for package in ["svdkit.hf", "svdkit.lightning"]:
        assert package not in sys.modules
    import svdkit

    assert not {"transformers", "lightning", "torch"} & set(sys.modules), "import svdkit must stay light"
    installed = [name for name in ["lightning", "pytorch_lightning"] if importlib.util.find_spec(name)]
    for name in sys.argv[2:] or ["hf", *installed, "loggers", "overhead"]:
        if name in ("lightning", "pytorch_lightning"):
            lightning(name)
        else:
            {"hf": hf, "loggers": loggers, "overhead": overhead}[name]()


if __name__ == "__main__":
    main()
