"""The licences of the packages that are compiled into the program for one target, each text once.

    python3 licenses.py TARGET > THIRD-PARTY.txt

A package that names a licence but ships no text of it is listed without one.
"""

import collections
import json
import pathlib
import subprocess
import sys

METADATA = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", sys.argv[1]]
TEXTS = ("license", "licence", "copying", "notice", "unlicense")


def compiled_in(metadata):
    """The packages that the program depends on, without those of tests and builds."""
    dependencies = {
        node["id"]: [d["pkg"] for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
        for node in metadata["resolve"]["nodes"]
    }
    root = metadata["resolve"]["root"]
    seen, waiting = set(), [root]
    while waiting:
        package = waiting.pop()
        if package not in seen:
            seen.add(package)
            waiting.extend(dependencies[package])
    packages = [package for package in metadata["packages"] if package["id"] in seen - {root}]
    return sorted(packages, key=lambda package: (package["name"], package["version"]))


metadata = json.loads(subprocess.run(METADATA, capture_output=True, check=True).stdout)
holders = collections.defaultdict(list)
print("svdkit contains these packages:\n")
for package in compiled_in(metadata):
    title = f"{package['name']} {package['version']}"
    print(f"{title}: {package['license'] or package['license_file']}")
    folder = pathlib.Path(package["manifest_path"]).parent
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.lower().startswith(TEXTS):
            holders[path.read_text(errors="replace").strip()].append(title)
for text, titles in holders.items():
    print("\n" + "-" * 78, ", ".join(titles), text, sep="\n")
