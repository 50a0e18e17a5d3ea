#!/usr/bin/env bash
# Collects what a CUDA machine without Rust and network needs for scripts/gpu-check.sh: the portable build
# with the CUDA plug-in, llama-batched-bench of the same engine, and the script. The real model is in a separate archive,
# because it does not compress.
#
#   scripts/gpu-kit.sh [CAPABILITY ...]      default 90 (H100, H200); writes target/gpu-kit/gpu-kit.tar.xz
#
#   CUDA_PLUGIN      an existing libggml-cuda.so [default: built by scripts/cuda-plugin.sh]
#   LLAMA_CPP_TOOLS  folder of a shared, plug-in build of llama.cpp's tools (cmake -DBUILD_SHARED_LIBS=ON
#                    -DGGML_BACKEND_DL=ON) of the same source, with llama-batched-bench; without it the parity step is left out
#   GPU_KIT_MODEL    a GGUF file to include [default: smollm2-135m-q4_1, fetched]; "none" leaves it out
#
# On the other machine:  tar xf gpu-kit.tar.xz; tar xf gpu-kit-model.tar; gpu-kit/gpu-check.sh
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'gpu-kit: %s\n' "$*" >&2 && exit 2; }

plugin=${CUDA_PLUGIN:-}
if [ -z "$plugin" ]; then
    scripts/cuda-plugin.sh "${@:-90}"
    plugin=${CARGO_TARGET_DIR:-target}/cuda-plugin/libggml-cuda.so
fi
[ -f "$plugin" ] || die "no $plugin"
scripts/portable.sh "$plugin"

portable=$(ls -td "${CARGO_TARGET_DIR:-target}"/portable/ggufbench-*-x86_64-linux | head -n 1)
work=${CARGO_TARGET_DIR:-target}/gpu-kit
rm -rf "$work"
mkdir -p "$work"
cp -r "$portable" "$work/gpu-kit"
cp scripts/gpu-check.sh "$work/gpu-kit/"

if [ -n "${LLAMA_CPP_TOOLS:-}" ]; then
    tool=$LLAMA_CPP_TOOLS/llama-batched-bench
    [ -x "$tool" ] || die "no $tool"
    mkdir "$work/gpu-kit/llama.cpp"
    cp "$tool" "$work/gpu-kit/llama.cpp/"
    # The tool's own libraries. Those of the engine are links to the program's, so that both run the same code. The
    # tool looks for plug-ins beside itself.
    for library in "$LLAMA_CPP_TOOLS"/lib*.so*; do
        name=$(basename "$library")
        case $name in libggml* | libllama.so*) continue ;; esac
        if ldd "$tool" | grep -q "$name"; then cp -L "$library" "$work/gpu-kit/llama.cpp/"; fi
    done
    for library in "$work"/gpu-kit/lib*.so*; do
        ln -s "../$(basename "$library")" "$work/gpu-kit/llama.cpp/"
    done
    strip --strip-unneeded "$work/gpu-kit/llama.cpp/llama-batched-bench"
fi

tar -C "$work" -c gpu-kit | xz -T0 -6 >"$work/gpu-kit.tar.xz"
model=${GPU_KIT_MODEL:-smollm2-135m-q4_1}
if [ "$model" != none ]; then
    if ! [ -f "$model" ]; then
        "$portable/ggufbench" model fetch "$model"
        model=${GGUFBENCH_MODELS:-gguf}/$model.gguf
    fi
    ln -sf "$(realpath "$model")" "$work/gpu-kit/model.gguf"
    tar -C "$work" -chf "$work/gpu-kit-model.tar" gpu-kit/model.gguf
fi
ls -l "$work"/*.tar*
size=$(stat -c %s "$work/gpu-kit.tar.xz")
[ "$size" -lt 60000000 ] || die "the kit has $size bytes: over 60 MB"
