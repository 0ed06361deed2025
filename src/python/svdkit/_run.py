"""Runs the program that came with the package."""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from svdkit._errors import SvdkitError
from svdkit._report import Report
from svdkit._tensors import Model, Stage

# Options that name models, and the name of each in reports.
_MODELS = ("base", "adapter_init")
# Options that write weights, for which the program copies files.
_COPIES = ("out", "mitigate")
# How long an interrupted program has to remove its unfinished files, in seconds.
_GRACE = 5
# How long a signal may wait until it is seen, in seconds.
_TURN = 0.2


def find_program() -> str:
    """The path of the `svdkit` program that came with this package, or the one on PATH."""
    name = "svdkit" + (sysconfig.get_config_var("EXE") or "")
    # Those of the environment, and of `pip install --user`.
    folders = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", f"{os.name}_user")]
    beside = (os.path.join(folder, name) for folder in folders)
    found = next(filter(os.path.isfile, beside), None) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"no {name} in {folders[0]} or on PATH")
    return found


class Request(NamedTuple):
    """A command: its models by their names, and its options by theirs."""

    command: tuple[str, ...]
    models: Sequence[tuple[str, Model]]
    options: Mapping[str, Any]


def report(command: str, models: Sequence[tuple[str, Model]], options: Mapping[str, Any], known: type) -> Report:
    """The report of a command. `known` is the typed dictionary of its options."""
    check(command, options, known)
    return report_of(Request((command,), models, options), stacklevel=4)


def report_of(request: Request, stacklevel: int = 3) -> Report:
    """The report of a request."""
    data, text, errors = run(request)
    made = Report(data, text, errors, lambda path: save(request, data, path))
    if errors and request.options.get("strict"):
        raise SvdkitError(errors[0], made)
    if errors:
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        warnings.warn(f"{errors[0]}{more}: see `errors` of the report", RuntimeWarning, stacklevel)
    return made


def check(command: str, options: Mapping[str, Any], known: type) -> None:
    """Raises TypeError for an option that the command does not have, or that is no switch and is switched."""
    for name, value in options.items():
        if name not in known.__annotations__:
            close = difflib.get_close_matches(name, known.__annotations__, 3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise TypeError(f"svdkit.{command}() has no option {name!r}{hint}")
        kind = known.__annotations__[name]
        kind = str(getattr(kind, "__forward_arg__", kind))
        is_bool = isinstance(value, bool)
        if is_bool and "bool" not in kind or kind == "bool" and value is not None and not is_bool:
            raise TypeError(f"svdkit.{command}(): {name} is {kind}, not {value!r}")


def run(request: Request) -> tuple[bytes, str, list[str]]:
    """The JSON of the report, what the program printed, and what it could not do though it made a report.

    A part has no report. Raises SvdkitError if nothing was made.
    """
    with Stage(borrow=not any(request.options.get(name) for name in _COPIES)) as stage:
        written = stage.path("report.json")
        is_part = "partition" in request.options
        words = [*request.command, *_typed(request.options, stage)]
        if not is_part:
            words.append(f"--output=json={written}")
        if "collect" not in request.command:
            words.append("--color=never")
        words += ["--", *(stage.model(model, name) for name, model in request.models)]
        code, text, told = _call(words, stage, written)
        errors = _errors(told)
        if code and is_part or not is_part and not os.path.exists(written):
            raise SvdkitError(errors[0] if errors else _ended(code))
        if is_part:
            return b"", text, errors
        for path in _outputs(request.options.get("output")) if stage.has_models else ():
            _replace(path, stage)
        with open(written, "rb") as file:
            return stage.unplaced(file.read()), text, errors


def save(request: Request, data: bytes, path: str) -> None:
    """Writes the report `data` of a request to `path` in another format: measures again, and compares."""
    folder, name = os.path.split(os.path.abspath(path))
    aside = os.path.join(folder, f".svdkit-{os.getpid()}-{name}")
    options = {name: value for name, value in request.options.items() if name != "verbose"}
    try:
        again, _, _ = run(request._replace(options={**options, "output": aside, "quiet": True}))
        if again != data:
            raise SvdkitError(f"{path}: not written, for the weights are others than those of the report; measure again")
        os.replace(aside, path)
    except SvdkitError as error:
        raise SvdkitError(str(error).replace(aside, path)) from None
    finally:
        if os.path.exists(aside):
            os.remove(aside)


def _typed(options: Mapping[str, Any], stage: Stage) -> Iterator[str]:
    """Options as they are typed."""
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}=" if len(name) > 1 else f"-{name}"
        if value is None or value is False:
            continue
        if value is True:
            yield flag.rstrip("=")
        elif name in _MODELS:
            yield flag + stage.model(value, name)
        elif name == "tuned":
            for place, (label, model) in enumerate(_sides(value), 1):
                path = stage.model(model, f"tuned{place}" if label else "tuned")
                yield flag + (f"{label}={path}" if label else path)
        else:
            several = sorted(value) if isinstance(value, (set, frozenset)) else value
            for one in several if isinstance(several, (list, tuple)) else [several]:
                yield flag + (os.fspath(one) if isinstance(one, os.PathLike) else str(one))


def _sides(tuned: Any) -> Iterator[tuple[str, Model]]:
    """Fine-tunes with their names: several in memory need some."""
    if isinstance(tuned, Mapping) and all(_is_model(side) for side in tuned.values()):
        for label, side in tuned.items():
            if not isinstance(label, str) or not label or "=" in label:
                raise TypeError(f"tuned: {label!r} is no name of a fine-tune; take one without '='")
            yield label, side
    elif isinstance(tuned, (list, tuple)):
        for place, side in enumerate(tuned, 1):
            yield ("" if isinstance(side, (str, os.PathLike)) else f"tuned{place}", side)
    else:
        yield ("", tuned)


def _is_model(value: object) -> bool:
    return isinstance(value, (str, os.PathLike, Mapping)) or hasattr(value, "state_dict")


def _call(words: list[str], stage: Stage, written: str) -> tuple[int, str, list[str]]:
    """Runs the program: its exit code, stdout, and the lines of stderr from the first error on; others are passed on."""
    held: list[str] = []
    borrowed = stage.borrowed()
    with open(stage.path("stdout"), "w+b") as stdout:
        process = subprocess.Popen(
            [find_program(), *borrowed, *words],
            stdin=stage.memory if borrowed else subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

        def listen() -> None:
            assert process.stderr is not None
            with process.stderr as lines:
                for line in lines:
                    text = stage.unplaced(line).decode(errors="replace")
                    if text.startswith("error: ") or held:
                        held.append(text.rstrip("\n"))
                    # Ctrl-C reaches the program, too, and is told as KeyboardInterrupt.
                    elif text.strip() != "interrupted" and os.fsencode(written) not in line:
                        sys.stderr.write(text)

        try:
            listener = threading.Thread(target=listen, daemon=True)
            listener.start()
            while listener.is_alive():
                # A signal may come when nothing waits for it; it is seen at the next turn.
                listener.join(_TURN)
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        stdout.seek(0)
        return code, stage.unplaced(stdout.read()).decode(errors="replace"), held


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the program, which removes its unfinished files."""
    try:
        process.terminate()
        process.wait(_GRACE)
    except BaseException:
        process.kill()
        process.wait()


def _errors(lines: list[str]) -> list[str]:
    """The messages of errors, each with the indented lines that belong to it."""
    errors: list[str] = []
    for line in lines:
        if line.startswith("error: "):
            errors.append(line[len("error: ") :])
        elif line.startswith("  ") and errors:
            errors[-1] += " " + line.strip()
    return errors


def _ended(code: int) -> str:
    if code < 0:
        return f"svdkit was ended by signal {-code}; if memory ran out, try memory='1G' or jobs=1"
    return "interrupted" if code == 130 else f"svdkit ended with {code} and without a report"


def _outputs(output: Any) -> Iterator[str]:
    """The files of `output` that may name models."""
    for one in output if isinstance(output, (list, tuple)) else [output] if output else []:
        typed = os.fspath(one)
        path = typed if os.path.exists(typed) else typed.partition("=")[2]
        if os.path.isfile(path) and not path.endswith(".parquet"):
            yield path


def _replace(path: str, stage: Stage) -> None:
    with open(path, "rb") as file:
        text = stage.unplaced(file.read())
    with open(path, "wb") as file:
        file.write(text)
