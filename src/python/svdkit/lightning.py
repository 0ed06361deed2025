"""Spectra in the training loop of Lightning, `lightning` or `pytorch_lightning`.

    trainer = lightning.Trainer(callbacks=[svdkit.lightning.SpectrumCallback()], ...)
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Optional, Sequence

from ._background import COLUMNS, Background


def _bases() -> tuple[type, ...]:
    """`Callback` of each Lightning that is imported; if none is, of the first that is installed."""
    names = ["lightning.pytorch", "pytorch_lightning"]
    imported = [name for name in names if name in sys.modules]
    if imported:
        return tuple(sys.modules[name].Callback for name in imported)
    try:
        return (importlib.import_module(names[0]).Callback,)
    except ImportError:
        return (importlib.import_module(names[1]).Callback,)


class SpectrumCallback(*_bases()):  # type: ignore[misc]
    """Measures each checkpoint that the trainer saves, beside the training, and logs the numbers at the checkpoint's step.

    Every logger of the trainer gets `spectrum/<role>/<column>`, the median over the matrices of a role, and
    `spectrum/findings/<name>`, how many matrices a finding names.

    The program runs at the lowest priority, on `jobs` threads, one checkpoint at a time. One that is saved meanwhile
    waits; a later one takes its place. At the end of training the last one has `timeout` seconds. `options` are further
    options of `svdkit spectrum`, as typed.

    Training never fails by it: the first failure is a warning of the logger `svdkit`, later ones are counted.
    """

    def __init__(
        self,
        columns: Sequence[str] = COLUMNS,
        options: Sequence[str] = (),
        jobs: int = 1,
        timeout: float = 300.0,
    ) -> None:
        super().__init__()
        self._timeout = timeout
        self._background = Background(columns, options, jobs)
        self._saving: Optional[int] = None
        self._known: dict[str, int] = {}

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self._saving = None
        self._known = self._files(trainer)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        # Called before the file is written. Another hook finds it.
        self._saving = trainer.global_step

    def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
        self._look(trainer)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self._look(trainer)
            self._log(trainer, self._background.finish(self._timeout))

    def _look(self, trainer: Any) -> None:
        if not trainer.is_global_zero:
            return
        if self._saving is not None:
            files = self._files(trainer)
            new = {path: time for path, time in files.items() if self._known.get(path) != time}
            if new:
                self._background.submit(self._saving, max(new, key=lambda path: new[path]))
                self._saving, self._known = None, files
        self._log(trainer, self._background.found())

    def _files(self, trainer: Any) -> dict[str, int]:
        """The checkpoints that the trainer's checkpoint callbacks name and that are there, with their times."""
        files = {}
        for callback in trainer.checkpoint_callbacks:
            named = [getattr(callback, key, "") for key in ("best_model_path", "last_model_path")]
            for path in {*named, *getattr(callback, "best_k_models", {})} - {""}:
                try:
                    files[path] = os.stat(path).st_mtime_ns
                except OSError:
                    continue
        return files

    def _log(self, trainer: Any, found: Sequence[tuple[Any, dict[str, float]]]) -> None:
        for step, numbers in found:
            for logger in trainer.loggers:
                try:
                    logger.log_metrics(dict(numbers), step=step)
                except Exception as error:
                    self._background.warn(f"a logger refused the numbers of step {step}: {error}")
