#!/usr/bin/env bash
# Builds a folder and a tar.gz that run on any x86-64 Linux of recent years (built on Debian 12: glibc 2.34 and newer). They have
# the program, llama.cpp's libraries, a CPU backend for every kind of x86-64, the RPC backend, and the plug-ins named on the command line.
#
#   scripts/portable.sh [PLUGIN.so ...]     e.g. scripts/portable.sh target/cuda-plugin/libggml-cuda.so
#
#   PORTABLE_CARGO_FLAGS   more flags for cargo
#   LIBGOMP_LICENSE        see scripts/bundle-libgomp.sh
#
# At run time the program looks for plug-ins beside itself and in the folder of --backends. From the system it needs the C and
# C++ libraries, which every system with glibc has.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'portable: %s\n' "$*" >&2 && exit 2; }

[ "$(uname -sm)" = "Linux x86_64" ] || die "only on x86-64 Linux: this is $(uname -sm)"
for plugin in "$@"; do
    case $(basename "$plugin") in
        libggml-*.so) [ -f "$plugin" ] || die "$plugin: no such file" ;;
        *) die "$plugin: a plug-in is a file libggml-NAME.so" ;;
    esac
done

build=${CARGO_TARGET_DIR:-target}/portable
PATH=$(scripts/setup.sh --path)
export PATH
# This program's own code is compiled for an old x86-64 (2009). The engine's kernels are CPU backends, each for one kind of CPU.
build() {
    # The engine crate creates these links anew, and fails on a dangling link of an earlier build.
    rm -f "$build"/release/{,deps/,examples/}lib{llama,llama-common,ggml,ggml-base}.so
    # shellcheck disable=SC2086
    # Without the linker's flag only the program itself would look for libraries in its folder, and not the libraries there.
    RUSTFLAGS="-C target-cpu=x86-64-v2" cargo rustc --release --features portable --target-dir "$build" ${PORTABLE_CARGO_FLAGS:-} \
        --bin ggufbench -- -C link-arg=-Wl,--disable-new-dtags
    # The newest of the engine's build folders belongs to this build.
    engine=$(ls -td "$build"/release/build/llama-cpp-sys-2-*/out/backends 2>/dev/null | head -n 1)
    [ -n "$engine" ] || die "the engine's build folder was not found in $build"
    engine=$(dirname "$engine")
}
# The engine's plug-ins whose names begin with $1.
plugins() { find "$engine/backends" "$engine/lib" "$engine/bin" -name "$1*.so" 2>/dev/null || true; }

build
if [ -z "$(plugins libggml-rpc)" ]; then
    # Cargo does not configure an engine again that was configured without RPC, so its build is removed.
    cargo clean --release --target-dir "$build" -p llama-cpp-sys-2
    build
fi

version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=ggufbench-$version-x86_64-linux
folder=$build/$name
rm -rf "$folder"
mkdir -p "$folder"
cp "$build/release/ggufbench" "$folder/"
for library in libllama libggml libggml-base; do
    # A plain file with the name that the program asks the loader for (libllama.so.0), because archives lose links.
    soname=$(cd "$engine/lib" && readelf -d "$library.so" | sed -n 's/.*SONAME.*\[\(.*\)\].*/\1/p')
    cp -L "$engine/lib/$library.so" "$folder/${soname:-$library.so}"
done
for backend in libggml-cpu libggml-rpc; do
    [ -n "$(plugins $backend)" ] || die "no $backend*.so was found in $engine"
    plugins $backend | while IFS= read -r file; do cp -L "$file" "$folder/"; done
done
[ $# -eq 0 ] || cp -L "$@" "$folder/"
cp -r sweeps prompts LICENSE-MIT LICENSE-APACHE README.md "$folder/"
# Without the records of other machines, which are large.
tar --exclude='docs/results/*/*' -c docs | tar -C "$folder" -x
strip --strip-unneeded "$folder"/*.so* "$folder/ggufbench"
scripts/bundle-libgomp.sh "$folder"

# The newest C library symbol of all files determines the oldest system.
glibc=$(objdump -T "$folder"/ggufbench "$folder"/*.so* | grep -o 'GLIBC_2\.[0-9]*' | sort -Vu | tail -n 1)
[ "$(printf '%s\n' "$glibc" GLIBC_2.34 | sort -V | tail -n 1)" = GLIBC_2.34 ] ||
    printf 'portable: because this system is new, the folder needs %s, which Debian 12, Ubuntu 22.04 and RHEL 9 may lack\n' "$glibc" >&2

"$folder/ggufbench" --version >/dev/null || die "the program does not start from $folder"
here=$(realpath "$folder")
elsewhere=$(ldd "$here/ggufbench" | while read -r library _ path; do
    [ ! -e "$here/$library" ] || [ "${path% (*}" = "$here/$library" ] || printf ' %s' "$library"
done)
[ -z "$elsewhere" ] || die "the program takes these libraries not from its own folder:$elsewhere"
tar -C "$build" -czf "$build/$name.tar.gz" "$name"
printf 'portable: %s (%s), for %s and newer\n' "$build/$name.tar.gz" "$(du -h "$build/$name.tar.gz" | cut -f1)" "${glibc/GLIBC_/glibc }"
