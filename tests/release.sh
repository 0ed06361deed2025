#!/usr/bin/env bash
# release.sh WHEEL: the ways in which people get the wheel, taken for real: pip, uvx, pipx, the GitHub action and both hooks for
# pre-commit. Not part of the default run: it needs uv, pipx and pre-commit on the path.
set -euo pipefail
wheel=$(realpath "$1")
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The wheel answers for svdkit, as if it were published.
links=$(dirname "$wheel")
export UV_FIND_LINKS=$links UV_NO_INDEX=1 PIP_FIND_LINKS=$links
export PRE_COMMIT_HOME=$work/pre-commit UV_CACHE_DIR=$work/uv PIPX_HOME=$work/pipx

echo "pip: $(time "$root/.github/release/try.sh" "$wheel" | tail -n 1)"
echo "uvx: $(time uvx --from "$wheel" svdkit --version)"
echo "pipx: $(time pipx run --spec "$wheel" svdkit --version)"

# A repository with a sound model, and the same with a NaN at its end.
git init --quiet "$work/repository"
cd "$work/repository"
git config user.email nobody@example.org
git config user.name nobody
cp "$root/fixtures/charlm/base/model.safetensors" .

# The action's only step, with no svdkit on the path.
python3 - "$root/.github/actions/compare/action.yml" >"$work/step.sh" <<'PYTHON'
import sys

lines = open(sys.argv[1]).read().split("      run: |\n")[1].splitlines()
print("\n".join(line[8:] for line in lines))
PYTHON
uvx --quiet --from "$wheel" svdkit spectrum model.safetensors --quiet -o "$work/baseline.json" >"$work/table"
act() {
    env -i PATH=/usr/bin:/bin RUNNER_TEMP="$work" GITHUB_STEP_SUMMARY="$work/summary.md" PACKAGE="$wheel" \
        BASELINE="$work/baseline.json" MODEL=model.safetensors ARGUMENTS=$'--fail-if\nnonfinite_count > 0' \
        bash --noprofile --norc -eo pipefail "$work/step.sh" >"$work/annotations"
}
time act
grep -q '^\*\*passed' "$work/summary.md"
echo "action: a sound model passes"

python3 - "$root/docs/ci.md" >.pre-commit-config.yaml <<'PYTHON'
import sys

(block,) = [part for part in open(sys.argv[1]).read().split("```yaml\n") if part.startswith("repos:\n  - repo: local")]
print(block.split("```")[0], end="")
PYTHON
git add --all
time pre-commit run --all-files --verbose
time pre-commit run --all-files
# The hook of this repository, as `pre-commit try-repo` takes it: uvx has the wheel.
mkdir "$work/hooks"
cp "$root/.pre-commit-hooks.yaml" "$work/hooks"
git -C "$work/hooks" init --quiet
git -C "$work/hooks" add --all
git -C "$work/hooks" -c user.email=nobody@example.org -c user.name=nobody commit --quiet --message hooks
time pre-commit try-repo "$work/hooks" svdkit-hygiene --all-files

printf '\300\177' | dd of=model.safetensors bs=1 seek=$(($(stat -c %s model.safetensors) - 2)) conv=notrunc status=none
git add --all
for command in act "pre-commit run --all-files" "pre-commit try-repo $work/hooks svdkit-hygiene --all-files"; do
    if $command; then
        echo "passed on a NaN: $command" >&2
        exit 1
    fi
done
echo "every way works"
