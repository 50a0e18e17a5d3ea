#!/usr/bin/env bash
# Builds libggml-cuda.so for the portable build, from the llama.cpp source that the engine crate carries.
#
#   scripts/cuda-plugin.sh 90          for compute capability 9.0 (H100, H200)
#   scripts/cuda-plugin.sh 89 90       several: a larger file, a longer build
#
#   CUDA_PLUGIN_DIR   where to build [default: target/cuda-plugin]
#   CUDA_COMPILER     nvcc to use [default: the one on PATH or in /usr/local/cuda; otherwise NVIDIA's from PyPI]
#
# Needs cmake, ninja, a C++ compiler and nvcc; for NVIDIA's compiler from PyPI python3 with venv and a network instead, no
# GPU and no driver. At run time the plug-in needs libcudart.so.13, libcublas.so.13 and libcublasLt.so.13. One
# capability takes about 17 minutes on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'cuda-plugin: %s\n' "$*" >&2 && exit 2; }

[ $# -gt 0 ] || die "which compute capabilities? 'scripts/cuda-plugin.sh 90' is for an H100, 89 for an RTX 40, 120 for an RTX 50"
for capability in "$@"; do
    case $capability in
        [5-9][0-9] | 1[0-9][0-9]) ;;
        *) die "'$capability' is no compute capability; 9.0 is written 90" ;;
    esac
done
architectures=$(IFS=';' && echo "$*")
for tool in cmake ninja c++ cargo; do
    command -v "$tool" >/dev/null || PATH=$(scripts/setup.sh --path)
    command -v "$tool" >/dev/null || die "$tool is missing"
done

build=${CUDA_PLUGIN_DIR:-${CARGO_TARGET_DIR:-target}/cuda-plugin}
mkdir -p "$build"
build=$(cd "$build" && pwd)

# The source of the very engine that the program links.
crate=$(cargo metadata --format-version 1 --locked |
    python3 -c 'import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "llama-cpp-sys-2":
        print(os.path.dirname(package["manifest_path"]))')
[ -d "$crate/llama.cpp" ] || die "the engine crate's source was not found: cargo fetch"

# NVIDIA's compiler as Python packages: headers and libraries of one version, in one folder.
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

launcher=()
if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache)
fi
# llama.cpp's own top level, not ggml's alone: the crate leaves out a file that ggml by itself needs. Without the driver's
# library to link, the plug-in cannot map memory by itself (NO_VMM); it uses plain allocations instead.
cmake -S "$crate/llama.cpp" -B "$build/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DGGML_BACKEND_DL=ON -DGGML_NATIVE=OFF -DGGML_CPU=OFF -DGGML_CUDA=ON -DGGML_CUDA_NO_VMM=ON -DGGML_CUDA_NCCL=OFF \
    -DCMAKE_CUDA_COMPILER="$nvcc" -DCUDAToolkit_ROOT="$(dirname "$(dirname "$nvcc")")" \
    -DCMAKE_CUDA_ARCHITECTURES="$architectures" \
    -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_TESTS=OFF \
    -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF "${launcher[@]}"
ninja -C "$build/build" ggml-cuda
cp "$build/build/bin/libggml-cuda.so" "$build/libggml-cuda.so"
strip --strip-unneeded "$build/libggml-cuda.so"
printf 'cuda-plugin: %s (%s), for %s\n' "$build/libggml-cuda.so" "$(du -h "$build/libggml-cuda.so" | cut -f1)" "$architectures"
