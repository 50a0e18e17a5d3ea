#!/usr/bin/env bash
# Checks that the program's Rust code compiles with the CUDA feature, on a machine without nvcc and CUDA. llama.cpp is not built.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${CARGO_TARGET_DIR:-target}/check-cuda
CMAKE=$(scripts/without-engine.sh "$build") cargo check --locked --features "${1:-cuda}" --target-dir "$build" --bins
