#!/usr/bin/env bash
# Finds the tools that building ggufbench needs and this machine lacks. On Debian and Ubuntu it installs them,
# and nothing else. On other systems, or without the rights, it prints the commands.
# The script uses only what macOS's bash 3.2 supports.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/setup.sh [--check] [--dev] [--cuda] [--offload] [--windows]
       scripts/setup.sh --path

  --check  only check; exit 1 if a necessary tool is missing
  --dev    also the tools of `make test`: rustfmt and clippy
  --cuda   also NVIDIA's compiler, which this script never installs
  --offload  also the tools of `make test-offload`: a Vulkan driver that computes on the CPU, and the compilers for it
  --windows  also the tools of `make windows`: MinGW's compiler and Rust's standard library for Windows
  --path   only print a PATH on which a sufficiently new cargo comes first
TEXT
}

check_only=no dev=no cuda=no offload=no windows=no print_path=no
for argument in "$@"; do
    case $argument in
        --check) check_only=yes ;;
        --dev) dev=yes ;;
        --cuda) cuda=yes ;;
        --offload) offload=yes ;;
        --windows) windows=yes ;;
        --path) print_path=yes ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
done

rust_needed=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
say() { printf 'setup: %s\n' "$*"; }

# --- looking -----------------------------------------------------------------------------------

# Whether version $1 is at least $2. Both are dotted numbers.
at_least() {
    awk -v have="$1" -v need="$2" 'BEGIN {
        split(have, h, "."); n = split(need, m, ".")
        for (i = 1; i <= n; i++) if (h[i] + 0 != m[i] + 0) exit !(h[i] + 0 > m[i] + 0)
    }'
}

# The version that a cargo or rustc reports; nothing if it does not run.
version_of() { { "$1" --version 2>/dev/null || true; } | awk 'NR == 1 { sub(/-.*/, "", $2); print $2 }'; }

# The first folder with a sufficiently new cargo and rustc: those of PATH, then those in which rustup and Ubuntu's versioned
# packages put them without a change of PATH.
rust_folder() {
    local folders folder
    folders=$(printf '%s' "$PATH" | tr ':' '\n')
    folders="$folders
${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
$(printf '%s\n' /usr/lib/rust-*/bin | sort -t. -k2nr)"
    while IFS= read -r folder; do
        if ! [ -x "$folder/cargo" ] || ! [ -x "$folder/rustc" ]; then continue; fi
        at_least "$(version_of "$folder/cargo")" "$rust_needed" || continue
        at_least "$(version_of "$folder/rustc")" "$rust_needed" || continue
        printf '%s\n' "$folder"
        return 0
    done <<<"$folders"
    return 1
}

rust_found=''
set_path() {
    rust_found=$(rust_folder) || return 0
    [ "$(command -v cargo)" = "$rust_found/cargo" ] || PATH=$rust_found:$PATH
}

has_any_file() {
    local file
    for file in "$@"; do [ -e "$file" ] && return 0; done
    return 1
}

has_libclang() {
    local own=${LIBCLANG_PATH:-/nowhere}
    # The digit excludes libclang-cpp, which is another library.
    if ! has_any_file "$own"/libclang{.so,-[0-9]*.so,.dylib}* \
        /usr/lib/llvm*/lib*/libclang{,-[0-9]*}.so* /usr/lib/*/libclang{,-[0-9]*}.so* \
        /usr/{lib64,lib,local/lib}/libclang{,-[0-9]*}.so* \
        /Library/Developer/CommandLineTools/usr/lib/libclang.dylib \
        /Applications/Xcode.app/Contents/Developer/Toolchains/*/usr/lib/libclang.dylib \
        /opt/homebrew/opt/llvm/lib/libclang.dylib /usr/local/opt/llvm/lib/libclang.dylib; then
        { /sbin/ldconfig -p 2>/dev/null || true; } | grep -q 'libclang[-.0-9]*\.so' || return 1
    fi
    [ "$(uname)" = Linux ] || return 0
    # libclang needs its own stddef.h to parse headers; some distributions have them in separate packages.
    has_any_file /usr/lib*/llvm*/lib*/clang/*/include/stddef.h /usr/lib*/clang/*/include/stddef.h \
        /usr/local/lib/clang/*/include/stddef.h "$own"/clang/*/include/stddef.h ||
        has_any_file "$(clang -print-resource-dir 2>/dev/null)/include/stddef.h"
}

has_nvcc() {
    command -v "${CUDACXX:-nvcc}" >/dev/null 2>&1 ||
        has_any_file "${CUDA_PATH:-/usr/local/cuda}/bin/nvcc" /usr/local/cuda/bin/nvcc
}

# Rust's standard library for Windows, or the source that scripts/windows.sh builds it from, which Debian's own Rust has.
has_windows_library() {
    local root
    for root in "$(rustc --print sysroot 2>/dev/null)" /usr; do
        has_any_file "$root/lib/rustlib/x86_64-pc-windows-gnu/lib" "$root/lib/rustlib/src/rust/library/Cargo.toml" && return 0
    done
    return 1
}

# Whether the tool is present. The build needs those of the first line, and the others are optional.
has() {
    case $1 in
        rust) [ -n "$rust_found" ] ;;
        cmake) command -v cmake >/dev/null ;;
        compiler) command -v "${CXX:-c++}" >/dev/null && command -v "${CC:-cc}" >/dev/null ;;
        libclang) has_libclang ;;
        make) command -v make >/dev/null ;;
        certificates) has_any_file "${SSL_CERT_FILE:-/nowhere}" /etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem \
            /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem ;;
        pip) python3 -m pip --version >/dev/null 2>&1 ;;
        ccache) command -v ccache >/dev/null ;;
        ninja) command -v ninja >/dev/null ;;
        glslc) command -v glslc >/dev/null ;;
        vulkan) has_any_file /usr/include/vulkan/vulkan.h ;;
        spirv) has_any_file /usr/{share,lib,lib64}/cmake/SPIRV-Headers /usr/include/spirv/unified1/spirv.hpp ;;
        lavapipe) has_any_file /usr/share/vulkan/icd.d/lvp_icd*.json ;;
        mingw) command -v x86_64-w64-mingw32-g++-posix >/dev/null && has_any_file /usr/x86_64-w64-mingw32/include/windows.h ;;
        zip) command -v zip >/dev/null ;;
        winstd) has_windows_library ;;
        rustfmt) cargo fmt --version >/dev/null 2>&1 ;;
        clippy) cargo clippy --version >/dev/null 2>&1 ;;
    esac
}
needed_things="rust cmake compiler libclang make certificates"
[ $offload = no ] || needed_things="$needed_things ninja glslc vulkan spirv lavapipe"
[ $windows = no ] || needed_things="$needed_things mingw zip winstd"
wanted_things="pip ccache"
[ $dev = no ] || wanted_things="$wanted_things rustfmt clippy"

describe() {
    case $1 in
        rust) echo "cargo and rustc, $rust_needed or newer" ;;
        cmake) echo "cmake, which configures llama.cpp" ;;
        compiler) echo "a C and C++ compiler" ;;
        libclang) echo "libclang with its headers, which reads llama.cpp's" ;;
        make) echo "make, which cmake drives" ;;
        certificates) echo "CA certificates, for downloads" ;;
        pip) echo "python3 with pip (optional: fetches the real model)" ;;
        ccache) echo "ccache (optional: rebuilds llama.cpp faster)" ;;
        ninja) echo "ninja, which builds the engine's plug-in" ;;
        glslc) echo "glslc, which compiles its shaders" ;;
        vulkan) echo "Vulkan's loader with its headers" ;;
        spirv) echo "SPIR-V's headers" ;;
        lavapipe) echo "Mesa's lavapipe, a Vulkan driver that computes on the CPU" ;;
        mingw) echo "MinGW's compiler, which builds llama.cpp for Windows" ;;
        zip) echo "zip" ;;
        winstd) echo "Rust's standard library for x86_64-pc-windows-gnu, or its source" ;;
        rustfmt | clippy) echo "cargo $1 (optional: make test skips that check)" ;;
    esac
}

look() {
    local thing
    needed='' wanted=''
    set_path
    for thing in $needed_things; do has "$thing" || needed="$needed $thing"; done
    for thing in $wanted_things; do has "$thing" || wanted="$wanted $thing"; done
}

tell_missing() {
    local thing
    for thing in $needed $wanted; do say "missing: $(describe "$thing")"; done
}

# --- what to install -----------------------------------------------------------------------------

package_manager() {
    local manager
    for manager in apt-get dnf pacman zypper brew; do
        if command -v $manager >/dev/null; then echo $manager && return; fi
    done
    echo none
}

# The packages of thing $2 for manager $1.
packages() {
    case $1:$2 in
        *:cmake | *:make | *:ccache | *:zip) echo "$2" ;;
        apt-get:mingw) echo "g++-mingw-w64-x86-64-posix mingw-w64-x86-64-dev" ;;
        apt-get:winstd) echo "rustc-web cargo-web rust-web-src" ;;
        dnf:mingw) echo mingw64-gcc-c++ ;;
        pacman:mingw) echo mingw-w64-gcc ;;
        apt-get:compiler) echo g++ ;;
        dnf:compiler | zypper:compiler) echo gcc-c++ ;;
        pacman:compiler) echo gcc ;;
        apt-get:libclang) echo libclang-dev ;;
        dnf:libclang | zypper:libclang) echo clang-devel ;;
        pacman:libclang) echo clang ;;
        brew:libclang) echo llvm ;;
        *:certificates) echo ca-certificates ;;
        pacman:pip) echo python-pip ;;
        brew:pip) echo python ;;
        *:pip) echo python3-pip ;;
        pacman:ninja | brew:ninja) echo ninja ;;
        *:ninja) echo ninja-build ;;
        zypper:glslc | pacman:glslc | brew:glslc) echo shaderc ;;
        *:glslc) echo glslc ;;
        apt-get:vulkan) echo libvulkan-dev ;;
        dnf:vulkan) echo "vulkan-headers vulkan-loader-devel" ;;
        zypper:vulkan) echo vulkan-devel ;;
        pacman:vulkan) echo "vulkan-headers vulkan-icd-loader" ;;
        apt-get:spirv | pacman:spirv | zypper:spirv) echo spirv-headers ;;
        dnf:spirv) echo spirv-headers-devel ;;
        pacman:lavapipe) echo vulkan-swrast ;;
        zypper:lavapipe) echo libvulkan_lvp ;;
        apt-get:lavapipe | dnf:lavapipe) echo mesa-vulkan-drivers ;;
        pacman:rust | brew:rust) echo rust ;;
        dnf:rust | zypper:rust) echo "rust cargo" ;;
        dnf:rustfmt | zypper:rustfmt) echo rustfmt ;;
        dnf:clippy) echo clippy ;;
    esac
}

# The version of package $1 that apt would install; nothing if apt does not know the package.
candidate() {
    LC_ALL=C apt-cache policy "$1" 2>/dev/null |
        awk '/Candidate:/ && $2 != "(none)" { v = $2; sub(/^[0-9]+:/, "", v); sub(/[^0-9.].*/, "", v); print v }'
}

# The apt packages with a sufficiently new Rust. Debian stable's own is years old, but the browsers
# that Debian updates are built with `rustc-web`, and Ubuntu's with `rustc-1.NN`.
apt_rust() {
    local name version
    if at_least "$(candidate rustc-web)" "$rust_needed" && [ -n "$(candidate cargo-web)" ]; then
        echo "rustc-web cargo-web"
    elif [ "${1:-}" != without-rustup ] && [ -n "$(candidate rustup)" ]; then
        echo rustup
    else
        name=$(apt-cache pkgnames rustc-1. | grep -E '^rustc-1\.[0-9]+$' | sort -t. -k2nr | head -n 1)
        version=${name#rustc-}
        if [ -n "$name" ] && at_least "$version" "$rust_needed"; then
            echo "$name cargo-$version"
        elif at_least "$(candidate rustc)" "$rust_needed"; then
            echo "rustc cargo"
        fi
    fi
}

# The package of cargo's part $1 for the Rust package $2. rustup has its own.
apt_part() {
    case $2:$1 in
        rustc-web*:*) echo "$1-web" ;;
        "rustc cargo":rustfmt) echo rustfmt ;;
        "rustc cargo":clippy) echo rust-clippy ;;
    esac
}

apt_packages() {
    local thing rust='' part
    if ! command -v rustup >/dev/null; then
        rust=$(apt_rust)
        [ -z "$(dpkg-query -W rustc-web 2>/dev/null)" ] || rust="rustc-web cargo-web"
    fi
    for thing in $needed $wanted; do
        case $thing in
            rust) echo "$rust" ;;
            rustfmt | clippy)
                part=$(apt_part "$thing" "$rust")
                [ -z "$part" ] || [ -z "$(candidate "$part")" ] || echo "$part"
                ;;
            *) packages apt-get "$thing" ;;
        esac
    done
}

in_words() { case " $2 " in *" $1 "*) return 0 ;; *) return 1 ;; esac }

# --- installing --------------------------------------------------------------------------------------

sudo=''
may_install() {
    [ "$(id -u)" != 0 ] || return 0
    command -v sudo >/dev/null || return 1
    sudo=sudo
    # A password is asked for only if a necessary tool is missing and a terminal is present.
    sudo -n true 2>/dev/null || { [ -n "$needed" ] && [ -t 0 ]; }
}

# Tries once more after a failure, because mirrors are sometimes in the middle of an update.
apt() {
    local command="${sudo:+$sudo }env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 $*"
    say "$command"
    $command || { say "the command failed; trying once more" && sleep 3 && $command; }
}

# Whether apt, with fresh lists, could install a necessary tool. An existing rustup is updated by its
# user.
apt_could_help() {
    local thing
    for thing in $needed; do
        if [ "$thing" != rust ] || ! command -v rustup >/dev/null; then return 0; fi
    done
    [ -n "$(apt_packages)" ]
}

install_with_apt() {
    local list
    apt update || return 1
    list=$(apt_packages | tr '\n' ' ')
    [ -n "${list// /}" ] || return 0
    # shellcheck disable=SC2086 # a list of words
    apt install -y --no-install-recommends $list || return 1
    if in_words rustup "$list"; then
        say "rustup default stable"
        if ! rustup default stable; then
            # shellcheck disable=SC2046 # a list of words
            apt install -y --no-install-recommends $(apt_rust without-rustup)
        fi
    fi
}

tell_how() {
    local manager=$1 list thing as_root=''
    [ "$(id -u)" = 0 ] || as_root='sudo '
    list=$(for thing in $needed $wanted; do
        if [ "$thing" = rust ] && command -v rustup >/dev/null; then continue; fi
        if [ "$manager:$thing" = apt-get:rust ]; then apt_rust; else packages "$manager" "$thing"; fi
    done | tr '\n' ' ' | sed 's/ *$//')
    case $manager in
        none) [ -z "$needed$wanted" ] || say "this script knows no package manager of this system: install the tools above by hand" ;;
        brew)
            list=${list/ca-certificates/}
            in_words compiler "$needed" && say "run: xcode-select --install"
            [ -z "${list// /}" ] || say "run: brew install $list"
            ;;
        pacman) [ -z "$list" ] || say "run: ${as_root}pacman -S --needed $list" ;;
        apt-get)
            [ $check_only = no ] || say "run: scripts/setup.sh, which installs what is possible, or"
            [ -z "$list" ] || say "run: ${as_root}apt-get update && ${as_root}apt-get install $list"
            ;;
        *) [ -z "$list" ] || say "run: ${as_root}$manager install $list" ;;
    esac
    if in_words rust "$needed"; then
        if command -v rustup >/dev/null; then
            say "run: rustup update stable && rustup default stable"
        else
            say "if this gives no Rust >= $rust_needed, install it with rustup: https://rustup.rs"
        fi
    elif in_words rustfmt "$wanted" || in_words clippy "$wanted"; then
        if command -v rustup >/dev/null; then
            say "run: rustup component add rustfmt clippy"
        fi
    fi
}

check_cuda() {
    [ $cuda = yes ] || return 0
    has_nvcc && return 0
    say "missing: NVIDIA's CUDA toolkit (nvcc), which builds for NVIDIA GPUs"
    say "install it from https://developer.nvidia.com/cuda-downloads, or name it: CUDACXX=/path/to/nvcc;"
    say "or build for the CPU, without CUDA=1"
    return 1
}

if [ $print_path = yes ]; then
    set_path
    printf '%s\n' "$PATH"
    exit 0
fi

look
tell_missing
manager=$(package_manager)
if [ -n "$needed$wanted" ] && [ $check_only = no ] && [ "$manager" = apt-get ] && apt_could_help && may_install; then
    install_with_apt || say "apt could not install everything"
    hash -r
    look
    [ -z "$needed$wanted" ] || say "still missing:"
    tell_missing
fi
[ -z "$needed$wanted" ] || tell_how "$manager"
result=0
check_cuda || result=1
[ -z "$needed" ] || result=1
if [ $result = 0 ]; then
    say "ready: $(cargo --version), $(cmake --version | head -n 1), $("${CXX:-c++}" --version | head -n 1)"
fi
exit $result
