"""The Homebrew formula of a release, from svdkit.rb.in and the checksums of its archives.

    python3 formula.py VERSION SHA256SUMS > svdkit.rb
"""

import pathlib
import re
import sys

version, checksums = sys.argv[1], pathlib.Path(sys.argv[2]).read_text().splitlines()
here = pathlib.Path(__file__).parent
repository = re.search(r'^repository = "(.*)"$', (here / "../../Cargo.toml").read_text(), re.MULTILINE)
if not repository:
    sys.exit("Cargo.toml has no `repository`, which downloads are addressed by")
sums = {name: digest for digest, name in (line.split() for line in checksums)}


def value(match):
    """What stands for a name between @."""
    name = match[1]
    if name in ("version", "repository"):
        return version if name == "version" else repository[1]
    archive = f"svdkit-v{version}-{name}.tar.gz"
    return sums.get(archive) or sys.exit(f"{sys.argv[2]} has no {archive}")


print(re.sub(r"@([\w-]+)@", value, (here / "svdkit.rb.in").read_text()), end="")
