# Sourced by scripts/cuda-plugin.sh and scripts/vulkan-plugin.sh: the common part of building a plug-in from the engine's source.
# shellcheck shell=bash

die() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2 && exit 2; }

for tool in cmake ninja c++ cargo; do
    command -v "$tool" >/dev/null || PATH=$(scripts/setup.sh --path)
    command -v "$tool" >/dev/null || die "$tool is missing"
done

# build_plugin NAME CMAKE_FLAG...: builds libggml-NAME.so in $build, from the source of the engine that the program links.
build_plugin() {
    local name=$1 crate launcher=()
    shift
    crate=$(cargo metadata --format-version 1 --locked |
        python3 -c 'import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "llama-cpp-sys-2":
        print(os.path.dirname(package["manifest_path"]))')
    [ -d "$crate/llama.cpp" ] || die "the engine crate's source was not found: cargo fetch"
    if command -v ccache >/dev/null; then
        launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache)
    fi
    # llama.cpp's top level and not ggml's, because the crate leaves out a file that ggml alone needs.
    cmake -S "$crate/llama.cpp" -B "$build/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
        -DGGML_BACKEND_DL=ON -DGGML_NATIVE=OFF -DGGML_CPU=OFF "$@" \
        -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_TESTS=OFF \
        -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF "${launcher[@]}"
    ninja -C "$build/build" "ggml-$name"
    cp "$build/build/bin/libggml-$name.so" "$build/libggml-$name.so"
    strip --strip-unneeded "$build/libggml-$name.so"
    printf '%s: %s (%s)\n' "$(basename "$0" .sh)" "$build/libggml-$name.so" "$(du -h "$build/libggml-$name.so" | cut -f1)"
}
