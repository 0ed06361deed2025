"""A report, as an object."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Union

from svdkit import _html

if TYPE_CHECKING:
    import pandas
    import polars

SCHEMAS = (1, 2)
Cell = Union[str, int, float, bool, None]


class Report:
    """What a command found: rows of numbers, and what they say.

    docs/report.md defines every key.

    Attributes:
        json: the report as the command writes it with `-o report.json`, to the byte. A model that was given in memory is
            called by the parameter that it was given to.
        text: what the command prints: its table, or what `emit` or `allocate` ask for.
        errors: what could not be measured or written, a line each; empty if all was.
    """

    def __init__(
        self, data: bytes, text: str = "", errors: list[str] | None = None, save: Callable[[str], None] | None = None
    ) -> None:
        self.json = data
        self.text = text
        self.errors = errors or []
        self._save = save

    def __getstate__(self) -> dict[str, Any]:
        """Numbers and texts: a copy elsewhere has no model to measure again."""
        return {"json": self.json, "text": self.text, "errors": self.errors, "_save": None}

    @functools.cached_property
    def document(self) -> dict[str, Any]:
        """The whole of the JSON."""
        document: dict[str, Any] = json.loads(self.json)
        return document

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A dictionary a matrix, in natural order of names, with the JSON's keys.

        `name`, `tensor`, `role`, `shape` (rows × columns), `dtype`, the metrics of `columns`, and under `missing`, by key,
        why a metric is None.
        """
        rows: list[dict[str, Any]] = self.document["rows"]
        return rows

    @property
    def columns(self) -> list[str]:
        """Keys of the metrics, in order; `svdkit explain KEY` has unit, range and source of each."""
        columns: list[str] = self.document["columns"]
        return columns

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What the numbers say, the worst first: `name`, `level`, `matrices`, `sentence`, `evidence`."""
        found: list[dict[str, Any]] = self.document.get("findings", [])
        return found

    @property
    def summary(self) -> dict[str, Any]:
        """Numbers of the whole model; empty but for `spectrum`."""
        summary: dict[str, Any] = self.document.get("summary", {})
        return summary

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """How each rule was judged: `rule`, `outcome`, `offenders`; empty without rules."""
        verdicts: list[dict[str, Any]] = self.document.get("verdicts", [])
        return verdicts

    @property
    def passed(self) -> bool | None:
        """Whether no rule is broken or inconclusive, as exit code 1 says on the command line; None without rules."""
        if not self.verdicts:
            return None
        return not any(rule["severity"] == "error" and rule["outcome"] in _BLOCKING for rule in self.verdicts)

    def table(self) -> dict[str, list[Cell]]:
        """The rows as columns of plain values, one entry a row: `shape` as `rows` and `cols`, no lists or dictionaries."""
        rows = [_flat(row) for row in self.rows]
        metrics = set(self.columns)
        keys = dict.fromkeys(key for row in rows for key, value in row.items() if not isinstance(value, (list, dict)))
        columns = {key: [_plain(row.get(key)) for row in rows] for key in keys}
        for key, values in columns.items():
            if any(isinstance(value, float) for value in values) or key in metrics and not any(map(_is_known, values)):
                columns[key] = [float(value) if isinstance(value, int) else value for value in values]
        return columns

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame of `table()`, a line a row; a number that could not be measured is NaN."""
        import pandas

        metrics = set(self.columns)
        frame = pandas.DataFrame(self.table())
        numbers = {key: "float64" for key in frame.columns if key in metrics and frame[key].isna().any()}
        return frame.astype(numbers)

    def to_polars(self) -> polars.DataFrame:
        """A data frame of `table()`, a line a row; a number that could not be measured is null."""
        import polars

        metrics = set(self.columns)
        columns = self.table()
        empty = {key: polars.Float64 for key, values in columns.items() if key in metrics and not any(map(_is_known, values))}
        return polars.DataFrame(columns, schema_overrides=empty)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the report in the format of the extension: json, jsonl, csv, md, html, xml, txt.

        JSON is written as it is. For the others the program measures again, from its cache where that is on; with
        `output="report.html"` a call writes them at once. Raises SvdkitError if the weights have changed since.
        """
        path = os.fspath(path)
        if path.endswith(".json"):
            with open(path, "wb") as file:
                file.write(self.json)
        elif self._save is None:
            raise ValueError(f"{path}: this report was read from a file; only .json can be written")
        else:
            self._save(path)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        rows, columns, findings = len(self.rows), len(self.columns), len(self.findings)
        return f"<svdkit report of {self.document['command']}: {rows} rows, {columns} columns, {findings} findings>"

    def _repr_html_(self) -> str:
        return _html.page(self)


_BLOCKING = ("fail", "inconclusive")


def read_report(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a report (`-o report.json` or `.jsonl`) as a list of flat dictionaries, one a matrix.

    Shapes become `rows` and `cols`; a number that could not be measured is None, its reason under `missing`, by key, as
    {"code": …, "text": …}.
    Raises ValueError for a file that is not a report of a known schema.
    """
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        report = json.loads(text)
        rows = report["rows"]
        schema = report["schema"]
    except (ValueError, KeyError, TypeError):
        rows, schema = _lines(path, text), max(SCHEMAS)
    if schema not in SCHEMAS:
        raise ValueError(f"{path}: report schema {schema}, known is {max(SCHEMAS)}; install the svdkit that wrote it")
    return [_flat(row) for row in rows]


def _lines(path: object, text: str) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        return [row for row in rows if row["status"] != "skipped"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: is not a svdkit report; write one with `-o report.json`") from None


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    row = dict(row)
    row["rows"], row["cols"] = row.pop("shape")
    # Schema 1 had texts where schema 2 has a code and a text.
    codes = row.pop("missing_codes", {})
    if "missing" in row:
        row["missing"] = {
            key: why if isinstance(why, dict) else {"code": codes.get(key), "text": why}
            for key, why in row["missing"].items()
        }
    if "flags" in row:
        row["flags"] = [flag if isinstance(flag, dict) else {"code": flag, "text": flag} for flag in row["flags"]]
    return row


def _plain(value: Any) -> Cell:
    return None if isinstance(value, (list, dict)) else value


def _is_known(value: object) -> bool:
    return value is not None
