#!/usr/bin/env bash
# Tries the zip of scripts/windows.sh under Wine: what people do with the program, kills, hostile files and names. Prints how many of how many
# checks pass.
#
#   scripts/test-windows.sh [FLAGS of scripts/windows/checks.py]     e.g. --linux target/release/ggufbench --model gguf/smollm2-135m-q4_0.gguf
#
#   WINDOWS_ZIP   the zip (the newest in target/windows)
#
# The script needs Debian's packages wine, unzip, g++-mingw-w64-x86-64-posix and python3. Wine is not Windows: what it cannot show is how a
# console of Windows looks, how a window that closes ends a run, and what Windows says of a laptop.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'test-windows: %s\n' "$*" >&2 && exit 2; }

build=$(realpath -m "${CARGO_TARGET_DIR:-target}/windows")
zip=${WINDOWS_ZIP:-$(ls -td "$build"/ggufbench-*-x86_64-windows.zip 2>/dev/null | head -n 1)}
[ -f "$zip" ] || die "no zip in $build: scripts/windows.sh builds it"
command -v wine >/dev/null || die "wine is needed"

export WINEPREFIX=$build/wine WINEDEBUG=-all
wine wineboot -i >/dev/null 2>&1 || die "Wine has made no folder in $WINEPREFIX"
folder=$WINEPREFIX/drive_c/ggufbench
rm -rf "$folder"
mkdir -p "$folder/unpacked"
unzip -q "$zip" -d "$folder/unpacked"
mv "$folder"/unpacked/* "$folder/program"

compiler=x86_64-w64-mingw32-gcc-posix
$compiler -O1 -o "$folder/processes.exe" scripts/windows/processes.c
# Wine 8 lacks this DLL; newer ones have it.
system=$(find / -path /proc -prune -o -path '*wine*x86_64-windows/bcryptprimitives.dll' -print 2>/dev/null | head -n 1)
[ -n "$system" ] || $compiler -shared -O1 -o "$folder/program/bcryptprimitives.dll" scripts/windows/prng.c -ladvapi32

code=0
python3 scripts/windows/checks.py "$folder" "$@" || code=$?
wineserver -k >/dev/null 2>&1 || true
exit $code
