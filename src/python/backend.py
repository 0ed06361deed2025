"""The build backend of the wheel: maturin, with the program's man pages as data files.

maturin packages files but does not make any, so the pages are written here first, by the program itself.
"""

import pathlib
import shutil
import subprocess

import maturin
from maturin import *  # noqa: F403  the other hooks of PEP 517

# `data` of pyproject.toml; maturin wants the folder whatever it is asked.
PAGES = pathlib.Path("target/wheel/data/share/man/man1")
PAGES.mkdir(parents=True, exist_ok=True)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """As maturin's; without cargo on the path, which maturin can do without, the wheel has no man pages."""
    if shutil.which("cargo"):
        subprocess.run(["cargo", "run", "--release", "--locked", "--quiet", "--", "man", PAGES], check=True)
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
