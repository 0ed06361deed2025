"""`python -m svdkit`: the program itself."""

import subprocess
import sys

from svdkit import find_program

if __name__ == "__main__":
    sys.exit(subprocess.call([find_program(), *sys.argv[1:]]))
