#!/usr/bin/env bash
# build.sh TARGET [OPTION of maturin …]: the wheel and the archive of one target, into dist/.
# Run it on a machine that can run TARGET's programs: the program itself writes its man pages and completions.
# It needs what requirements.txt lists, and `rustup target add TARGET`.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$1
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
name=svdkit-v$version-$target # as `[package.metadata.binstall]` of Cargo.toml has it
program=target/$target/release/svdkit
ending=tar.gz
options=(--target "$target")
case $target in
    *-linux-gnu) options+=(--zig --compatibility manylinux2014) ;;
    *-linux-musl) options+=(--compatibility musllinux_1_2) ;;
    *-windows-*)
        program=$program.exe
        ending=zip
        ;;
esac

# Man pages and licences travel in the wheel as data files. They are written by the program, so it is built twice; the
# second time nothing is compiled.
data=target/wheel/data/share
rm -rf target/wheel "dist/$name" "dist/$name.$ending"
mkdir -p "$data/man/man1" "$data/doc/svdkit" dist
build() {
    maturin build --release --locked --strip "${options[@]}" "${@:2}" --out dist
}
build "$@"
python .github/release/licenses.py "$target" >"$data/doc/svdkit/THIRD-PARTY.txt"
"$program" man "$data/man/man1"
build "$@"

# The archive.
mkdir -p "dist/$name/completions"
cp "$program" README.md docs/changelog.md LICENSE-MIT LICENSE-APACHE "$data/doc/svdkit/THIRD-PARTY.txt" "dist/$name"
cp -R "$data/man" "dist/$name"
for shell in bash zsh fish powershell elvish nushell; do
    "$program" completions "$shell" >"dist/$name/completions/svdkit.$shell"
done
cd dist
python - "$name" "$ending" <<'PYTHON'
import shutil
import sys

name, ending = sys.argv[1:]
shutil.make_archive(name, "zip" if ending == "zip" else "gztar", ".", name)
PYTHON
rm -r "$name"
