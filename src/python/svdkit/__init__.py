"""Reads the JSON reports that the `svdkit` program writes.

    import pandas, svdkit
    table = pandas.DataFrame(svdkit.read_report("report.json"))
"""

import json

from svdkit._run import find_program as find_program

SCHEMAS = (1, 2)


def read_report(path):
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


def _lines(path, text):
    try:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        return [row for row in rows if row["status"] != "skipped"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: is not a svdkit report; write one with `-o report.json`") from None


def _flat(row):
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
