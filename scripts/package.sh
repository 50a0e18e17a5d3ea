#!/usr/bin/env bash
# Makes what others install, in target/dist: a tar.gz, a Python wheel, a Containerfile that uses the tar.gz, and their digests.
# docs/INSTALL.md says how each is installed.
#
#   scripts/package.sh [PLUGIN.so ...]      builds the portable program first, with these plug-ins (scripts/portable.sh)
#   scripts/package.sh --folder FOLDER      packs an earlier target/portable/ggufbench-VERSION-x86_64-linux
#
# The script needs python3, and what the build needs.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'package: %s\n' "$*" >&2 && exit 2; }

command -v python3 >/dev/null || die "python3 is needed: it writes the wheel and the list of licenses"
target=${CARGO_TARGET_DIR:-target}
if [ "${1:-}" = --folder ]; then
    [ $# -eq 2 ] || die "--folder needs one folder"
    portable=${2%/}
else
    scripts/portable.sh "$@"
    portable=$(ls -td "$target"/portable/ggufbench-*-x86_64-linux | head -n 1)
fi
[ -x "$portable/ggufbench" ] || die "$portable has no program"

name=$(basename "$portable")
dist=$target/dist
rm -rf "$dist"
mkdir -p "$dist"
cp -r "$portable" "$dist/$name"
folder=$dist/$name

mkdir "$folder/completions"
for shell in bash zsh fish powershell elvish; do
    "$folder/ggufbench" manual completions $shell >"$folder/completions/ggufbench.$shell"
done
"$folder/ggufbench" manual man "$folder/man/man1"

PATH=$(scripts/setup.sh --path)
export PATH
cargo metadata --format-version 1 --locked --features portable --filter-platform x86_64-unknown-linux-gnu |
    scripts/licenses.py >"$folder/LICENSES-LINKED.txt"

glibc=$(objdump -T "$folder"/ggufbench "$folder"/*.so* | grep -o 'GLIBC_2\.[0-9]*' | sort -Vu | tail -n 1)
scripts/wheel.py "$folder" "$dist" --glibc "${glibc#GLIBC_}" >/dev/null
tar -C "$dist" --sort=name --owner=0 --group=0 --numeric-owner -czf "$dist/$name.tar.gz" "$name"
rm -r "$folder"
cp scripts/Containerfile "$dist/"
(cd "$dist" && sha256sum ./*.tar.gz ./*.whl >SHA256SUMS && du -h ./*)
