#!/usr/bin/env python3
"""Counts the lines of src that are code: no blank lines, no comments, no tests.

    python3 tests/lines.py [FOLDER] [--rooms]

A file or module under `#[cfg(test)]` is a test. `--rooms` adds a line for each room of src.
"""

import re
import sys
from collections import Counter
from pathlib import Path


def test_files(root):
    """Files that are modules under `#[cfg(test)]`."""
    found = set()
    for path in root.rglob("*.rs"):
        for name in re.findall(r"#\[cfg\(test\)\]\s*(?:pub(?:\(\w+\))? )?mod (\w+);", path.read_text()):
            parent = path.parent if path.name in ("mod.rs", "lib.rs", "main.rs") else path.with_suffix("")
            found |= {parent / f"{name}.rs", parent / name / "mod.rs"}
    return found


def code_lines(text):
    """Lines that are neither blank nor comment nor inside an inline test module."""
    count, depth = 0, None
    lines = iter(text.splitlines())
    for line in lines:
        bare = line.strip()
        if depth is not None:
            # rustfmt closes a module in the column where it began.
            if line.startswith(depth + "}"):
                depth = None
            continue
        if bare == "#[cfg(test)]":
            item = next(lines, "")
            while item.strip().startswith("#["):
                item = next(lines, "")
            if item.rstrip().endswith("{"):
                depth = item[: len(item) - len(item.lstrip())]
            continue
        if bare and not bare.startswith("//"):
            count += 1
    return count


def main(arguments):
    folders = [argument for argument in arguments if not argument.startswith("-")]
    root = Path(folders[0] if folders else Path(__file__).parent.parent / "src")
    tests, rooms = test_files(root), Counter()
    for path in sorted(root.rglob("*.rs")):
        if path not in tests:
            room = path.relative_to(root).parts[0].removesuffix(".rs")
            rooms[room] += code_lines(path.read_text())
    if "--rooms" in arguments:
        for room, lines in sorted(rooms.items(), key=lambda item: -item[1]):
            print(f"{lines:7} {room}")
    print(f"{sum(rooms.values()):7} lines of code without blank lines, comments and tests")


if __name__ == "__main__":
    main(sys.argv[1:])
