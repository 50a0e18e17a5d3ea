#!/usr/bin/env bash
# Writes a substitute for CMake and prints its path, so that Rust code can be checked without building llama.cpp: it makes an empty library
# where the engine crate looks for one. What is built with it cannot run, and needs a target folder of its own.
#
#   scripts/without-engine.sh FOLDER
set -euo pipefail

mkdir -p "$1"
cmake=$(cd "$1" && pwd)/without-engine
cat >"$cmake" <<'STUB'
#!/bin/sh
for arg in "$@"; do
    case $arg in
        -DCMAKE_INSTALL_PREFIX=*) mkdir -p "${arg#*=}/lib" && printf '!<arch>\n' > "${arg#*=}/lib/libllama.a" ;;
    esac
done
STUB
chmod +x "$cmake"
printf '%s\n' "$cmake"
