#!/usr/bin/env bash
# Builds libggml-cuda.so for the portable build, from the llama.cpp source of the engine crate.
#
#   scripts/cuda-plugin.sh 90          for compute capability 9.0 (H100, H200)
#   scripts/cuda-plugin.sh 89 90       several: a larger file, a longer build
#
#   CUDA_PLUGIN_DIR   where to build [default: target/cuda-plugin]
#   CUDA_COMPILER     nvcc to use [default: the one on PATH or in /usr/local/cuda; otherwise NVIDIA's from PyPI]
#
# The script needs cmake, ninja, a C++ compiler and nvcc. NVIDIA's compiler from PyPI needs python3 with venv and a network
# instead. No GPU and no driver are needed. At run time the plug-in needs libcudart.so.13, libcublas.so.13 and libcublasLt.so.13. One
# capability takes tens of minutes on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/plugin.sh

[ $# -gt 0 ] || die "which compute capabilities? 'scripts/cuda-plugin.sh 90' is for an H100, 89 for an RTX 40, 120 for an RTX 50"
for capability in "$@"; do
    case $capability in
        [5-9][0-9] | 1[0-9][0-9]) ;;
        *) die "'$capability' is not a compute capability; 9.0 is written 90" ;;
    esac
done
architectures=$(IFS=';' && echo "$*")
build=${CUDA_PLUGIN_DIR:-${CARGO_TARGET_DIR:-target}/cuda-plugin}
mkdir -p "$build"
build=$(cd "$build" && pwd)

# NVIDIA's compiler as Python packages, with headers and libraries of one version in one folder.
from_pypi() {
    local venv=$build/nvcc root
    if ! [ -x "$venv/bin/pip" ]; then python3 -m venv "$venv"; fi
    "$venv/bin/pip" install --quiet 'nvidia-cuda-nvcc==13.0.88' 'nvidia-cuda-runtime==13.0.*' 'nvidia-cublas==13.0.*' \
        'nvidia-cuda-cccl==13.0.*' 'nvidia-nvvm==13.0.*' 'nvidia-cuda-crt==13.0.*' >&2
    root=$(echo "$venv"/lib/python3*/site-packages/nvidia/cu13)
    ln -sfn lib "$root/lib64"
    for library in libcudart libcublas libcublasLt; do
        ln -sf "$library.so.13" "$root/lib/$library.so"
    done
    echo "$root/bin/nvcc"
}
nvcc=${CUDA_COMPILER:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)}
[ -n "$nvcc" ] || nvcc=$(from_pypi)
"$nvcc" --version >/dev/null || die "$nvcc does not run"

# Without the driver's library the plug-in cannot map memory by itself (NO_VMM), and uses plain allocations.
build_plugin cuda -DGGML_CUDA=ON -DGGML_CUDA_NO_VMM=ON -DGGML_CUDA_NCCL=OFF \
    -DCMAKE_CUDA_COMPILER="$nvcc" -DCUDAToolkit_ROOT="$(dirname "$(dirname "$nvcc")")" \
    -DCMAKE_CUDA_ARCHITECTURES="$architectures"
