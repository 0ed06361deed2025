"""A report in a notebook: a compact table, with what stands out above it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from svdkit._report import Report

# The columns that are shown of many, the most wanted first.
_WANTED = (
    "intruder_count", "logit_bound", "composition", "delta_frobenius_ratio", "spectral_norm_change",
    "effective_rank_change", "alignment", "subspace_overlap", "farms_alpha", "whole_alpha", "rank_at_95",
    "spectral_norm", "stable_rank", "effective_rank", "alpha", "ks_distance", "spike_count", "nonfinite_count", "max_abs",
)  # fmt: skip
_MOST_COLUMNS = 8
# Of more rows, the first and the last are shown.
_MOST_ROWS = 20
_MOST_FINDINGS = 5


def page(report: Report) -> str:
    """The report as a piece of HTML, small whatever the model."""
    columns = report.columns
    if len(columns) > _MOST_COLUMNS:
        wanted = [key for key in _WANTED if key in columns]
        columns = (wanted + [key for key in columns if key not in wanted])[:_MOST_COLUMNS]
    rows = report.rows
    half = _MOST_ROWS // 2
    if len(rows) > _MOST_ROWS:
        body = [*map(line(columns), rows[:half]), _gap(columns), *map(line(columns), rows[-half:])]
    else:
        body = list(map(line(columns), rows))
    head = "".join(f"<th>{escape(name)}</th>" for name in ("matrix", "shape", *columns))
    told = [f"<li><b>{escape(one['level'])}</b> {escape(one['sentence'])}</li>" for one in report.findings]
    more = len(told) - _MOST_FINDINGS
    told = told[:_MOST_FINDINGS] + ([f"<li>{more} more in <code>findings</code></li>"] if more > 0 else [])
    rules = [f"<li><b>{escape(one['outcome'])}</b> {escape(one['rule'])}</li>" for one in report.verdicts]
    size = f"{len(rows)} rows × {len(report.columns)} columns"
    source = report.document["model"]["path"]
    return (
        f"<div><p><code>{escape(report.document['command'])}</code> {escape(str(source))}</p>"
        f"{_list(rules)}{_list(told)}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table><p>{size}</p></div>"
    )


def line(columns: list[str]) -> Any:
    """What makes a line of the table of a row."""

    def made(row: dict[str, Any]) -> str:
        missing = row.get("missing", {})
        shape = "×".join(map(str, row.get("shape", [])))
        cells = "".join(_cell(row.get(key), missing.get(key)) for key in columns)
        return f"<tr><th>{escape(str(row['name']))}</th><td>{shape}</td>{cells}</tr>"

    return made


def _cell(value: Any, why: Any) -> str:
    if value is None:
        title = f' title="{escape(str(why["text"]))}"' if isinstance(why, dict) else ""
        return f"<td{title}></td>"
    return f"<td>{value:.4g}</td>" if isinstance(value, float) else f"<td>{escape(str(value))}</td>"


def _gap(columns: list[str]) -> str:
    return "<tr>" + "<td>…</td>" * (len(columns) + 2) + "</tr>"


def _list(lines: list[str]) -> str:
    return f"<ul>{''.join(lines)}</ul>" if lines else ""
