"""What can go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from svdkit._report import Report


class SvdkitError(Exception):
    """What the program could not do, in its own line.

    `report` is the report on what could be measured, where there is one (with `strict=True`), else None.
    """

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = report
