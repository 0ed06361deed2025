"""What a type checker is to see: `mypy --strict` and `pyright` accept this file, and refuse each line that says so."""

from __future__ import annotations

from typing import Any

import svdkit

report: svdkit.Report = svdkit.spectrum("model", columns=["alpha"], no_svd=True, fail_if="alpha > 6", memory="8G", jobs=2)
passed: bool | None = report.passed
rows: list[dict[str, Any]] = report.rows
weights: dict[str, object] = {}
svdkit.compare(weights, tuned={"lora": "a", "full": weights}, base="b", k=10)
svdkit.intruders("base", tuned={"lora": "a", "full": weights})
svdkit.series(["a", "b"], as_given=True)
svdkit.series(weights, "b")
svdkit.rank("model", energy=[0.8, 0.97], emit="kappatune", modules="all")
svdkit.spectrum("model", colums=["alpha"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
svdkit.spectrum("model", precision="best")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
svdkit.spectrum(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
