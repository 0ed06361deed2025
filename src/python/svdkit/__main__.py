"""`python -m svdkit`: the program itself."""

import os
import subprocess
import sys

from svdkit._run import find_program

if __name__ == "__main__":
    words = [find_program(), *sys.argv[1:]]
    if os.name == "posix":
        os.execv(words[0], words)
    else:
        sys.exit(subprocess.call(words))
