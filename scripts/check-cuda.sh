#!/usr/bin/env bash
# Checks that the program's Rust code compiles with the CUDA feature, on a machine without nvcc and CUDA. llama.cpp is not
# built: a substitute for CMake writes an empty library where the engine crate looks for one. The result cannot
# run. It has a separate target folder, so that no real build uses the empty library.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/cmake" <<'STUB'
#!/bin/sh
for arg in "$@"; do
    case $arg in
        -DCMAKE_INSTALL_PREFIX=*) mkdir -p "${arg#*=}/lib" && printf '!<arch>\n' > "${arg#*=}/lib/libllama.a" ;;
    esac
done
STUB
chmod +x "$work/cmake"

CMAKE="$work/cmake" cargo check --locked --features "${1:-cuda}" \
    --target-dir "${CARGO_TARGET_DIR:-target}/check-cuda" --bins
