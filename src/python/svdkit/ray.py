"""Parts of a long run on a Ray cluster.

    import svdkit.ray
    report = svdkit.ray.run("ORG/NAME", "compare", "ORG/TUNED", partitions=16, ledger="/shared/parts")

Every node needs svdkit, the model under the same path, and the folder of the ledger.
"""

from __future__ import annotations

import os
import time
from typing import Any, cast

import ray  # pyright: ignore[reportMissingImports]

from svdkit import _options
from svdkit._errors import SvdkitError
from svdkit._report import Report
from svdkit._run import Request, check, report_of, run as run_program

# The commands that can be done in parts.
_KNOWN: dict[str, type] = {
    "spectrum": _options.SpectrumOptions,
    "rank": _options.RankOptions,
    "farms": _options.FarmsOptions,
    "intruders": _options.IntrudersOptions,
    "compare": _options.CompareOptions,
    "heads": _options.HeadsOptions,
}
# What a program says of a part that another one still writes: one that outlived its killed worker.
_BUSY = "another run"


def run(
    model: str,
    command: str = "spectrum",
    *more: str,
    partitions: int,
    ledger: str | os.PathLike[str],
    cpus: float = 1,
    retries: int = 3,
    **options: Any,
) -> Report:
    """The report of a command whose matrices are measured in parts, each a task of Ray.

    Args:
        model: path or hub name, the same on all nodes. Models in memory are for the functions of `svdkit`.
        command: one of spectrum, rank, farms, intruders, compare, heads.
        more: further models, as the command takes them.
        partitions: number of parts; `svdkit plan` shows what each costs.
        ledger: a folder that all nodes see, for what is found. What an earlier run found there is not measured again.
        cpus: processors of a part, and its threads unless `jobs` says otherwise.
        retries: how often a part whose worker or node died is begun again; it goes on where it ended.
        options: those of the command.

    Raises SvdkitError with the line of the part that can't be done.
    """
    if command not in _KNOWN:
        raise ValueError(f"{command!r} is not done in parts; {', '.join(_KNOWN)} are")
    check(command, options, _KNOWN[command])
    paths = [_path(path) for path in (model, *more)]
    output = options.pop("output", None)
    shared = {name: _path(value) if name == "base" else value for name, value in options.items()}
    shared = {"jobs": max(1, int(cpus)), **shared, "ledger": os.path.abspath(ledger), "resume": True}
    part = ray.remote(num_cpus=cpus, max_retries=retries)(_part)
    tasks = [part.remote(command, paths, shared, f"{number}/{partitions}") for number in range(1, partitions + 1)]
    try:
        ray.get(tasks)
    except SvdkitError as error:
        for task in tasks:
            ray.cancel(task)
        raise SvdkitError(str(getattr(error, "cause", error))) from None
    return report_of(Request(("collect",), [("ledger", shared["ledger"])], {"output": output}))


def _path(path: str | os.PathLike[str]) -> str:
    """A path that means the same in every folder; the name of a model of the hub as it is."""
    typed = os.fspath(path)
    return os.path.abspath(typed) if os.path.exists(typed) else typed


def _part(command: str, paths: list[str], options: dict[str, Any], part: str) -> None:
    """Does one part; waits for a program of an earlier try that still does it."""
    while True:
        try:
            run_program(Request((command,), [("", path) for path in paths], {**options, "partition": part, "quiet": True}))
            return
        except SvdkitError as error:
            if _BUSY not in str(error):
                raise
            time.sleep(1)
