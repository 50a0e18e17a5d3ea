#!/usr/bin/env bash
# Builds libggml-vulkan.so for the portable build, from the llama.cpp source of the engine crate.
#
#   scripts/vulkan-plugin.sh
#
#   VULKAN_PLUGIN_DIR   where to build [default: target/vulkan-plugin]
#   VULKAN_HEADERS      folder that has vulkan/vulkan.hpp [default: the system's; if those are too old for the engine,
#                       as in Debian 12, those of a newer Debian are unpacked into the build folder, and nothing is installed]
#
# The script needs cmake, ninja, a C++ compiler, glslc, Vulkan's loader with its headers, and SPIR-V's headers (Debian and Ubuntu:
# apt-get install glslc libvulkan-dev spirv-headers). It needs no GPU and no driver. It takes about 6 minutes of CPU time.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/plugin.sh

command -v glslc >/dev/null || die "glslc is missing (Debian and Ubuntu: apt-get install glslc libvulkan-dev spirv-headers)"
build=${VULKAN_PLUGIN_DIR:-${CARGO_TARGET_DIR:-target}/vulkan-plugin}
mkdir -p "$build"
build=$(cd "$build" && pwd)

has_layer_settings() { grep -qs 'struct LayerSettingEXT' "$1/vulkan/vulkan_structs.hpp"; }

# The headers of a newer release, from the mirror of this Debian.
newer_headers() {
    local apt=$build/apt mirror options
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CREATED_BY)' 2>/dev/null | awk '$2 == "Packages" && $1 ~ /\/debian\/$/ { print $1; exit }')
    [ -n "$mirror" ] || die "Vulkan's headers are too old for the engine: name newer ones in VULKAN_HEADERS (github.com/KhronosGroup/Vulkan-Headers, include)"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$apt/sources.list"
    options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$apt/lists"
        -o "Dir::Cache=$apt/cache" -o "APT::Sandbox::User=$(id -un)")
    apt-get "${options[@]}" update >&2
    (cd "$apt" && apt-get "${options[@]}" download libvulkan-dev >&2 && dpkg -x libvulkan-dev_*.deb headers)
    echo "$apt/headers/usr/include"
}

headers=${VULKAN_HEADERS:-}
if [ -z "$headers" ] && ! has_layer_settings /usr/include; then
    headers=$build/apt/headers/usr/include
    has_layer_settings "$headers" || headers=$(newer_headers)
fi
[ -z "$headers" ] || has_layer_settings "$headers" || die "$headers: no Vulkan headers, or too old for the engine"

build_plugin vulkan -DGGML_VULKAN=ON ${headers:+-DVulkan_INCLUDE_DIR="$headers"}
