"""Measures the checkpoints of a run beside it, for `svdkit.hf` and `svdkit.lightning`.

Training must not wait, and must not fail. So nothing here raises: the first failure is a warning of the logger
`svdkit`, later ones are counted, and the count is told at the end.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import statistics
import subprocess
import threading
import time
import weakref
from typing import Any, Hashable, Optional, Sequence

COLUMNS = ("spectral_norm", "stable_rank", "effective_rank", "alpha")
LEVELS = ("problem", "caution", "note")

logger = logging.getLogger("svdkit")


class Background:
    """One `svdkit spectrum` at a time. A checkpoint that comes meanwhile waits; the next one takes its place."""

    def __init__(self, columns: Sequence[str], options: Sequence[str], jobs: int) -> None:
        self._columns = tuple(columns)
        self._options = [*options, "--columns", ",".join(columns), "--jobs", str(jobs)]
        self._lock = threading.Lock()
        self._waiting: Optional[tuple[Hashable, str]] = None
        self._thread: Optional[threading.Thread] = None
        self._running: list[subprocess.Popen[bytes]] = []
        self._found: queue.SimpleQueue[tuple[Any, dict[str, float]]] = queue.SimpleQueue()
        self._seen: set[str] = set()
        self._submitted = self._superseded = self._failed = 0
        # A run that ends by an exception leaves no program behind.
        weakref.finalize(self, _kill, self._running, os.getpid())

    def submit(self, moment: Hashable, checkpoint: str) -> None:
        """Has `checkpoint` measured; `moment` is given back with its numbers."""
        with self._lock:
            self._submitted += 1
            if self._waiting is not None:
                self._superseded += 1
                logger.info("%s was not measured: a later checkpoint came first", self._waiting[1])
            self._waiting = (moment, checkpoint)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="svdkit", daemon=True)
                self._thread.start()

    def found(self) -> list[tuple[Any, dict[str, float]]]:
        """What was found since the last call, without waiting: moments and numbers by tag."""
        found = []
        while not self._found.empty():
            found.append(self._found.get())
        return found

    def finish(self, timeout: float) -> list[tuple[Any, dict[str, float]]]:
        """The results so far, after at most `timeout` seconds; measurements that still run are ended."""
        until = time.monotonic() + timeout
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                with self._lock:
                    failed = self._failed + 1 + (self._waiting is not None)
                    self._waiting = None
                self.warn(f"the last checkpoint was not measured in {timeout:g} s, see `timeout`")
                _kill(self._running, os.getpid())
                thread.join(5.0)
                self._failed = failed
        missed = self._failed + self._superseded
        if missed:
            logger.warning(
                "svdkit: %d of %d checkpoints were not measured: %d failed, %d gave way to a later one",
                missed, self._submitted, self._failed, self._superseded,
            )  # fmt: skip
        self._submitted = self._superseded = self._failed = 0
        return self.found()

    def warn(self, reason: object) -> None:
        """Counts a failure; the first is a warning."""
        self._failed += 1
        level = logging.WARNING if self._failed == 1 else logging.INFO
        logger.log(level, "svdkit: %s; training goes on", reason)

    def _work(self) -> None:
        while True:
            with self._lock:
                job, self._waiting = self._waiting, None
                if job is None:
                    self._thread = None
                    return
            try:
                self._found.put((job[0], self._measure(job[1])))
            except Exception as error:
                self.warn(error)

    def _measure(self, checkpoint: str) -> dict[str, float]:
        from ._run import find_program

        command = [find_program(), "spectrum", checkpoint, "--format", "json", "--quiet", *self._options]
        flags = getattr(subprocess, "IDLE_PRIORITY_CLASS", 0)
        nice = shutil.which("nice")
        if nice:
            command = [nice, "-n", "19", *command]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, creationflags=flags
        )
        self._running.append(process)
        try:
            output, complaint = process.communicate()
        finally:
            self._running.remove(process)
        try:
            report = json.loads(output)
        except ValueError:
            lines = complaint.decode(errors="replace").strip().splitlines()
            lines = [line for line in lines if line.startswith("error: ")] or lines[-1:]
            reason = lines[0].removeprefix("error: ") if lines else f"{checkpoint}: ended with {process.returncode}"
            raise RuntimeError(reason) from None
        return self._numbers(report)

    def _numbers(self, report: dict[str, Any]) -> dict[str, float]:
        """Medians by role and column, and how many matrices each finding names, by tag."""
        values: dict[str, list[float]] = {}
        for row in report["rows"]:
            for column in self._columns:
                if row.get(column) is not None:
                    values.setdefault(f"spectrum/{row['role']}/{column}", []).append(row[column])
        numbers: dict[str, float] = {tag: float(statistics.median(found)) for tag, found in values.items()}
        findings = report.get("findings", [])
        for level in LEVELS:
            numbers[f"spectrum/findings/{level}"] = sum(finding["level"] == level for finding in findings)
        # A finding that has gone is a zero, so that its line ends where it ended.
        numbers.update({tag: 0 for tag in self._seen})
        for finding in findings:
            numbers[f"spectrum/findings/{finding['name']}"] = max(1, len(finding["matrices"]))
        self._seen.update(f"spectrum/findings/{finding['name']}" for finding in findings)
        return numbers


def _kill(running: list[subprocess.Popen[bytes]], parent: int) -> None:
    # A forked worker of a data loader holds a copy of this list, and ends before its parent.
    if os.getpid() == parent:
        for process in list(running):
            process.kill()
