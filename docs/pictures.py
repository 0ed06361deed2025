"""Makes the pictures of README and docs from real runs, into docs/pictures: python docs/pictures.py PROGRAM [CHROMIUM]

Terminals become SVG, pages PNG in 64 colors. Needs Pillow, Chromium and DejaVu Sans; run it in the repository's root.
"""

import re
import subprocess
import sys
import tempfile
import textwrap
from html import escape
from pathlib import Path

from PIL import Image

PROGRAM = Path(sys.argv[1]).resolve()
CHROMIUM = sys.argv[2] if len(sys.argv) > 2 else "chromium"
ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs/pictures"
SIDES = "--tuned lora=fixtures/charlm/lora-r16 --tuned full=fixtures/charlm/full"

# Name, command, and for a page width and height.
TERMINALS = {
    "gate": "compare fixtures/charlm/base fixtures/charlm/lora-r16 --include *.0.self_attn.* "
    "--columns delta_frobenius_ratio,effective_rank_change --fail-if delta_frobenius_ratio>0.5 --fail-if nonfinite_count>0",
}
PAGES = {
    "report": ("spectrum fixtures/charlm/base", 1000, 840),
    "compare": (f"compare fixtures/charlm/base {SIDES}", 1000, 640),
}

COLUMN, LINE, SIZE = 8.0, 18, 13.3
COLORS = {31: "#e06c75", 32: "#98c379", 33: "#e5c07b", 34: "#61afef", 35: "#c678dd", 36: "#56b6c2"}


def runs(line):
    """The pieces of a line between escape sequences: where each begins, what it says and how it looks."""
    column, look, pieces = 0, {}, []
    for part in re.split(r"(\x1b\[[\d;]*m)", line):
        if code := re.fullmatch(r"\x1b\[([\d;]*)m", part):
            for number in map(int, (code[1] or "0").split(";")):
                if number == 0:
                    look = {}
                elif number == 1:
                    look = {**look, "font-weight": "bold"}
                elif number == 2:
                    look = {**look, "opacity": "0.65"}
                elif number in COLORS or number - 60 in COLORS:
                    look = {**look, "fill": COLORS.get(number) or COLORS[number - 60]}
        elif part:
            pieces.append((column, part, look))
            column += len(part)
    return pieces


def terminal(name, command):
    words = command.split()
    done = subprocess.run([PROGRAM, *words, "--color", "always"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    shown = " ".join(f"'{word}'" if re.search(r"[*<>]", word) else word for word in words)
    typed = " \\\n    ".join(textwrap.wrap(f"$ svdkit {shown}", 92, break_long_words=False, break_on_hyphens=False))
    lines = [*(f"\x1b[1m{line}\x1b[0m" for line in typed.splitlines()), *done.stdout.rstrip().splitlines()]
    width = max(column + len(text) for line in lines for column, text, _ in runs(line))
    texts = []
    for row, line in enumerate(lines):
        for column, text, look in runs(line):
            style = "".join(f' {key}="{value}"' for key, value in look.items())
            # Browsers draw several spaces as one.
            for word in re.finditer(r"\S+(?: \S+)*", text):
                place = f'x="{16 + (column + word.start()) * COLUMN:g}" y="{28 + row * LINE}"'
                width_of = f'textLength="{len(word[0]) * COLUMN:g}"'
                texts.append(f"<text {place} {width_of}{style}>{escape(word[0], quote=False)}</text>")
    size = f'width="{32 + width * COLUMN:g}" height="{28 + len(lines) * LINE}"'
    (OUT / f"{name}.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" '
        f'font-size="{SIZE}" fill="#d7dae0"><rect width="100%" height="100%" rx="8" fill="#21252b"/>\n'
        + "\n".join(texts)
        + "\n</svg>\n",
        encoding="utf-8",
    )


def page(name, command, width, height):
    with tempfile.TemporaryDirectory() as folder:
        path, shot = Path(folder) / "page.html", OUT / f"{name}.png"
        subprocess.run([PROGRAM, *command.split(), "-q", "-o", path], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
        subprocess.run(
            [CHROMIUM, *options, f"--user-data-dir={folder}/user", f"--window-size={width},{height}", f"--screenshot={shot}", path],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        Image.open(shot).convert("RGB").quantize(64).save(shot, optimize=True)


for name, command in TERMINALS.items():
    terminal(name, command)
for name, (command, width, height) in PAGES.items():
    page(name, command, width, height)
for path in sorted(OUT.iterdir()):
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.1f} KiB")
