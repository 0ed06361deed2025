"""Spectra in the training loop of transformers.

    trainer = Trainer(...)
    trainer.add_callback(svdkit.hf.SpectrumCallback(trainer))
"""

from __future__ import annotations

import copy
import os
from typing import Any, Sequence

from transformers import (  # pyright: ignore[reportMissingImports]
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ._background import COLUMNS, Background


class SpectrumCallback(TrainerCallback):
    """Measures each checkpoint that `trainer` saves, beside the training, and logs the numbers at the checkpoint's step.

    Every logger of the trainer gets `spectrum/<role>/<column>`, the median over the matrices of a role, and
    `spectrum/findings/<name>`, how many matrices a finding names. `trainer.state.log_history` has them, too.

    The program runs at the lowest priority, on `jobs` threads, one checkpoint at a time. One that is saved meanwhile
    waits; a later one takes its place. At the end of training the last one has `timeout` seconds, which should stay
    below the timeout of the process group. `options` are further options of `svdkit spectrum`, as typed.

    Training never fails by it: the first failure is a warning of the logger `svdkit`, later ones are counted.
    """

    def __init__(
        self,
        trainer: Trainer,
        columns: Sequence[str] = COLUMNS,
        options: Sequence[str] = (),
        jobs: int = 1,
        timeout: float = 300.0,
    ) -> None:
        self._trainer = trainer
        self._timeout = timeout
        self._background = Background(columns, options, jobs)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # Loggers close when training ends, in the order of this list; the last numbers come before that.
        callbacks = self._trainer.callback_handler.callbacks
        if self in callbacks:
            callbacks.remove(self)
            callbacks.insert(0, self)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            checkpoint = os.path.join(args.output_dir or "", f"checkpoint-{state.global_step}")
            self._background.submit((state.global_step, state.epoch), checkpoint)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._log(self._background.found())

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            self._log(self._background.finish(self._timeout))

    def _log(self, found: Sequence[tuple[Any, dict[str, float]]]) -> None:
        # `Trainer.log` would take the present step, and those of subclasses do more than log.
        trainer = self._trainer
        for (step, epoch), numbers in found:
            state = copy.copy(trainer.state)
            state.global_step, state.epoch = step, epoch
            state.log_history.append({**numbers, "epoch": epoch, "step": step})
            try:
                trainer.callback_handler.on_log(trainer.args, state, copy.copy(trainer.control), dict(numbers))
            except Exception as error:
                self._background.warn(f"a logger refused the numbers of step {step}: {error}")
