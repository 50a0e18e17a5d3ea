#!/usr/bin/env bash
# Builds ggufbench for 64-bit Windows 10 and newer, on Linux: a folder and a zip with the program, which needs no DLL but Windows' own.
#
#   scripts/windows.sh            builds the zip
#   scripts/windows.sh --check    only checks the Rust code, without building llama.cpp
#
#   WINDOWS_CPU           the CPUs that the program is for, as -C target-cpu has them (x86-64-v3: AVX2, Intel since 2013, AMD since 2015)
#   WINDOWS_CARGO_FLAGS   more flags for cargo
#
# The script needs what `scripts/setup.sh --windows` installs: Debian's packages g++-mingw-w64-x86-64-posix, mingw-w64-x86-64-dev and zip,
# and Rust with the standard library for x86_64-pc-windows-gnu: of rustup (rustup target add x86_64-pc-windows-gnu), or of Debian
# (rustc-web, cargo-web and rust-web-src, from whose source it is built). scripts/test-windows.sh tries the program under Wine.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'windows: %s\n' "$*" >&2 && exit 2; }

triple=x86_64-pc-windows-gnu
cpu=${WINDOWS_CPU:-x86-64-v3}
build=${CARGO_TARGET_DIR:-target}/windows

# The flags and the PATH of a Rust that has the standard library for Windows, or its source.
std_flags=''
has_library() { [ -d "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/$triple/lib" ]; }
has_source() { [ -f "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/Cargo.toml" ]; }
choose_rust() {
    PATH=$(scripts/setup.sh --path)
    export PATH
    has_library && return
    # Debian's packages are looked for even where rustup's come first on the PATH.
    has_source || PATH=/usr/bin:$PATH
    has_library && return
    has_source || die "no standard library of Rust for Windows: rustup target add $triple, or install rustc-web, cargo-web and rust-web-src"
    export RUSTC_BOOTSTRAP=1
    std_flags=-Zbuild-std
}

check=no
case ${1:-} in
    '') ;;
    --check) check=yes ;;
    *) die "unknown argument: $1" ;;
esac

compiler=x86_64-w64-mingw32-g++-posix
command -v $compiler >/dev/null || die "$compiler is needed: install g++-mingw-w64-x86-64-posix"
[ $check = yes ] || command -v zip >/dev/null || die "zip is needed"
choose_rust

name=${triple//-/_}
header=$PWD/scripts/windows/mingw.h
include=$(dirname "$(echo '#include <_mingw.h>' | $compiler -E -xc++ - | sed -n 's/^# 1 "\(.*_mingw\.h\)".*/\1/p' | head -n 1)")
export "CC_$name=x86_64-w64-mingw32-gcc-posix" "CXX_$name=$compiler" "AR_$name=x86_64-w64-mingw32-gcc-ar-posix"
export "CFLAGS_$name=-include $header" "CXXFLAGS_$name=-include $header"
export "BINDGEN_EXTRA_CLANG_ARGS_$name=-I$include"
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=$compiler
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS="-C target-cpu=$cpu -C target-feature=+crt-static -C link-arg=-static"
unset RUSTFLAGS
if [ $check = yes ]; then
    # shellcheck disable=SC2086
    CMAKE=$(scripts/without-engine.sh "$build") cargo check --locked --target $triple --target-dir "$build/check" $std_flags ${WINDOWS_CARGO_FLAGS:-} --bins
    exit
fi
# A folder that has the C++ library as an archive alone: in the compiler's own the linker finds the DLL first.
mkdir -p "$build/static"
cp "$($compiler -print-file-name=libstdc++.a)" "$build/static/"
# shellcheck disable=SC2086
cargo rustc --release --target $triple --target-dir "$build" $std_flags ${WINDOWS_CARGO_FLAGS:-} --bin ggufbench -- \
    -C link-arg=-L"$(realpath "$build/static")"

version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)
package=ggufbench-$version-x86_64-windows
folder=$build/$package
rm -rf "$folder" "$folder.zip"
mkdir -p "$folder"
cp "$build/$triple/release/ggufbench.exe" "$folder/"
x86_64-w64-mingw32-strip "$folder/ggufbench.exe"
cp -r sweeps prompts LICENSE-MIT LICENSE-APACHE README.md CHANGELOG.md "$folder/"
tar --exclude='docs/results/*/*' -c docs | tar -C "$folder" -x

# Windows' own DLLs, which every Windows 10 has; others would have to be in the folder.
dlls() { x86_64-w64-mingw32-objdump -p "$1" | sed -n 's/^\tDLL Name: //p' | tr 'A-Z' 'a-z' | sort -u; }
windows_own='advapi32|api-ms-win-core-synch-l1-2-0|api-ms-win-core-winrt-error-l1-1-0|bcrypt|bcryptprimitives|combase|crypt32|dbghelp|iphlpapi|kernel32|msvcrt|netapi32|ntdll|ole32|oleaut32|pdh|powrprof|psapi|secur32|shell32|user32|userenv|ws2_32'
foreign=$(dlls "$folder/ggufbench.exe" | grep -vE "^($windows_own)\.dll$" || true)
[ -z "$foreign" ] || die "the program needs DLLs that Windows does not have: $foreign"

# What the compiler linked in: its own runtime, whose exception allows that, and the C library's start and threads.
for text in gcc-mingw-w64-base mingw-w64-common; do
    file=/usr/share/doc/$text/copyright
    [ -f "$file" ] && cp "$file" "$folder/LICENSE-$text.txt"
done
[ -f "$folder/LICENSE-mingw-w64-common.txt" ] || die "the license of MinGW's C library was not found in /usr/share/doc/mingw-w64-common"
cargo metadata --format-version 1 --locked --filter-platform $triple | scripts/licenses.py >"$folder/LICENSES-LINKED.txt"

(cd "$build" && zip -qr9 "$package.zip" "$package")
bytes=$(stat -c %s "$folder.zip")
[ "$bytes" -lt 60000000 ] || die "$folder.zip has $bytes bytes, more than 60 million"
printf 'windows: %s (%s bytes), for CPUs of %s; its DLLs: %s\n' "$folder.zip" "$bytes" "$cpu" "$(dlls "$folder/ggufbench.exe" | tr '\n' ' ')"
