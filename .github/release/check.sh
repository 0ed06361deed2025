#!/usr/bin/env bash
# check.sh [TAG]: does every place name the version of Cargo.toml, and the tag, too? Run before anything is built.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
failed=0
expect() {
    if ! grep -qF -- "$2" "$1"; then
        echo "$1 does not have: $2" >&2
        failed=1
    fi
}
expect docs/changelog.md "## $version"
expect .github/actions/compare/action.yml "svdkit==$version"
expect .pre-commit-hooks.yaml "svdkit==$version"
expect docs/ci.md "svdkit==$version"
if [ -n "${1:-}" ] && [ "$1" != "v$version" ]; then
    echo "the tag is $1, the version $version" >&2
    failed=1
fi
# Downloads of `cargo binstall` and Homebrew are addressed by the repository.
if [ -n "${GITHUB_REPOSITORY:-}" ]; then
    expect Cargo.toml "repository = \"$GITHUB_SERVER_URL/$GITHUB_REPOSITORY\""
fi
exit "$failed"
