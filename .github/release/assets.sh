#!/usr/bin/env bash
# assets.sh DIST: what a release has besides wheels and archives: their checksums, the Homebrew formula, and notes.md, the
# section of the changelog.
set -euo pipefail
dist=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
(cd "$dist" && sha256sum -- *.whl *.tar.gz *.zip >SHA256SUMS)
python3 .github/packaging/formula.py "$version" "$dist/SHA256SUMS" >"$dist/svdkit.rb"
awk -v heading="## $version" '/^## / { inside = index($0, heading) == 1; next } inside' docs/changelog.md >notes.md
test -s notes.md
