"""Runs the program that came with the package."""

import os
import shutil
import sysconfig


def find_program():
    """The path of the `svdkit` program that came with this package, or the one on PATH."""
    name = "svdkit" + (sysconfig.get_config_var("EXE") or "")
    beside = os.path.join(sysconfig.get_path("scripts"), name)
    found = beside if os.path.isfile(beside) else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"no {name} in {os.path.dirname(beside)} or on PATH")
    return found
