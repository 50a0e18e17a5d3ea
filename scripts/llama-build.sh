#!/usr/bin/env bash
# Builds ggufbench against another llama.cpp than the one of its crate, and prints the program's path.
#
#   scripts/llama-build.sh [--cache DIR] [--side a|b] DIR[@REV] [-- FLAGS OF CARGO BUILD]
#
#   DIR          a checkout of llama.cpp, or its sources without git
#   REV          a commit, tag or branch of it; without REV the files as they are, with changes that are not committed
#   --cache DIR  folder of the builds (default: target/llama)
#   --side       names the flag that a failure suggests: --program-a or --program-b
#
# Nothing in DIR is touched: the sources are copied into the cache, beside a copy of the binding (llama-cpp-sys-2) without its own
# llama.cpp. The program is built there, from this checkout of ggufbench. What has not changed is copied once and compiled once. The
# script uses only what macOS's bash 3.2 supports.
set -euo pipefail

source=$(cd "$(dirname "$0")/.." && pwd -P)
say() { printf 'llama-build: %s\n' "$*" >&2; }
die() { say "$*" && exit 2; }
usage() { sed -n '4,9s/^# \{0,1\}//p' "$source/scripts/llama-build.sh"; }

cache=${CARGO_TARGET_DIR:-$source/target}/llama side=a wanted=''
while [ $# -gt 0 ]; do
    case $1 in
        --cache) [ $# -gt 1 ] || die "--cache needs a folder"; cache=$2 && shift ;;
        --side) [ $# -gt 1 ] || die "--side needs a or b"; side=$2 && shift ;;
        --) shift && break ;;
        -h | --help) usage && exit 0 ;;
        -*) usage >&2 && exit 2 ;;
        *) [ -z "$wanted" ] || die "one DIR[@REV] at a time: $wanted, $1"; wanted=$1 ;;
    esac
    shift
done
[ -n "$wanted" ] || { usage >&2 && exit 2; }
# What remains are flags of cargo.
for flag in "$@"; do
    case $flag in
        --target | --target=* | --profile | --profile=* | --target-dir*) die "$flag: where the program is built is decided here; leave it out" ;;
        *portable*) die "the feature portable has its libraries beside the program; build without it" ;;
    esac
done

# --- what is built --------------------------------------------------------------------------------

checkout=$wanted revision=''
if ! [ -d "$wanted" ] && [ "${wanted%@*}" != "$wanted" ]; then
    checkout=${wanted%@*} revision=${wanted##*@}
    [ -n "$revision" ] || die "$wanted: a revision is missing after @"
fi
[ -d "$checkout" ] || die "$checkout: no such folder"
checkout=$(cd "$checkout" && pwd -P)
if ! [ -e "$checkout/include/llama.h" ]; then
    hint=''
    [ -e "$checkout/llama.cpp/include/llama.h" ] && hint="; did you mean $checkout/llama.cpp?"
    die "$checkout: is not llama.cpp, because it has no include/llama.h$hint"
fi

# Git may otherwise write its index in the checkout.
export GIT_OPTIONAL_LOCKS=0
# A folder of sources that lies somewhere in another repository is no checkout.
is_git=no
if [ -e "$checkout/.git" ]; then
    command -v git >/dev/null || die "$checkout: is a git checkout, and git is not installed"
    problem=$(git -C "$checkout" rev-parse HEAD 2>&1 >/dev/null) || die "$checkout: git cannot read it: $problem"
    is_git=yes
fi
[ $is_git = yes ] || [ -z "$revision" ] || die "$checkout: is not a git checkout, so that it has no revision $revision; name the folder alone"

digest_of_standard_input() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c 1-12
}

# The first 12 digits of a digest over all names and contents below a folder.
digest_of() {
    local sum='shasum -a 256'
    command -v sha256sum >/dev/null && sum=sha256sum
    # shellcheck disable=SC2086
    (cd "$1" && find . -name .git -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 $sum) | digest_of_standard_input
}

# The folders whose new files belong to a build although git does not know them yet.
code='ggml src include common cmake vendor'

# The build number of a commit, as llama.cpp counts: its releases are tags of the form b1234, and the number is that of commits.
number_of() {
    local tag
    tag=$(git -C "$checkout" tag --points-at "$1" | grep -E '^b[0-9]+$' | tail -n 1 || true)
    if [ -n "$tag" ]; then
        printf '%s\n' "${tag#b}"
    elif [ "$(git -C "$checkout" rev-parse --is-shallow-repository)" = false ]; then
        git -C "$checkout" rev-list --count "$1"
    fi
}

# The build number of sources without git: of GitHub's archives (llama.cpp-b1234), or of a Python package of sources.
number_of_folder() {
    local folder version
    for folder in "$checkout" "$(dirname "$checkout")"; do
        case $(basename "$folder") in
            *-b[0-9]*) basename "$folder" | sed -n 's/.*-b\([0-9][0-9]*\)$/\1/p' | grep . && return ;;
        esac
        [ -e "$folder/PKG-INFO" ] || continue
        version=$(sed -n 's/^Version: \([0-9][0-9][0-9][0-9][0-9]*\)\..*/\1/p' "$folder/PKG-INFO" | head -n 1)
        [ -z "$version" ] || { printf '%s\n' "$version" && return; }
    done
}

commit='' number='' files=''
if [ $is_git = yes ]; then
    full=$(git -C "$checkout" rev-parse --verify --quiet "${revision:-HEAD}^{commit}") ||
        die "$checkout: has no revision $revision; if it is a shallow clone, fetch the revision first"
    commit=$(git -C "$checkout" rev-parse --short=12 "$full")
    number=$(number_of "$full")
    name=$commit
    # shellcheck disable=SC2086
    if [ -z "$revision" ] && { ! git -C "$checkout" diff --quiet HEAD -- ||
        [ -n "$(git -C "$checkout" ls-files --others --exclude-standard -- $code)" ]; }; then
        commit=$commit-dirty
        # The folder stays the same while the files change, so that only changed files are compiled again.
        name=changed-$(printf '%s' "$checkout" | digest_of_standard_input)
    fi
else
    number=$(number_of_folder)
    files=$(digest_of "$checkout")
    name=files-$files
fi
[ -z "$number" ] || case $name in changed-*) ;; *) name=b$number-$name ;; esac
# The binding does not notice that such a variable has changed, and CMake keeps what it was told once: other variables, another build.
# RUSTFLAGS is not among them, because cargo notices its changes.
variables=$(env | grep -E '^(CMAKE_|GGML_|CC=|CXX=|CFLAGS|CXXFLAGS|LDFLAGS=)' | grep -v '^CMAKE_BUILD_PARALLEL_LEVEL=' | LC_ALL=C sort || true)
[ -z "$variables" ] || name=$name-with-$(printf '%s' "$variables" | digest_of_standard_input)

PATH=$("$source/scripts/setup.sh" --path)
export PATH
command -v cargo >/dev/null || die "cargo was not found; 'make setup' installs it"

# --- the sources, in the cache --------------------------------------------------------------------

locked() { sed -n "/^name = \"$1\"\$/{n;s/^version = \"\(.*\)\"\$/\1/p;}" "$source/Cargo.lock"; }
binding_version=$(locked llama-cpp-sys-2)
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)
place=$cache/$binding_version/$name
# One path for every revision, so that ccache knows a file that two revisions share. Cargo keeps the builds apart by the binding's version.
current=$cache/current
binding=$place/llama-cpp-sys-2
log=$place/build.log
mkdir -p "$place"
printf '%s\n' "$variables" >"$place/variables"

# `current` is that of one build at a time. Of two that make the folder of the lock, one succeeds.
take_lock() { mkdir "$cache/lock" 2>/dev/null && printf '%s\n' $$ 2>/dev/null >"$cache/lock/pid"; }
holder_of() { cat "$1/pid" 2>/dev/null || true; }
if ! take_lock; then
    holder=$(holder_of "$cache/lock")
    # A build that has just made the folder is about to write its number.
    if [ -z "$holder" ]; then sleep 2 && holder=$(holder_of "$cache/lock"); fi
    if [ -n "$holder" ] && kill -0 "$holder" 2>/dev/null; then die "$cache: another build is running (process $holder); wait for it"; fi
    # Of two that find a lock left behind, one moves it away. The other may then hold a new one, which is put back.
    rm -rf "$cache/lock.$$"
    if mv "$cache/lock" "$cache/lock.$$" 2>/dev/null; then
        if [ "$(holder_of "$cache/lock.$$")" != "$holder" ] && [ ! -e "$cache/lock" ]; then mv "$cache/lock.$$" "$cache/lock"; fi
        rm -rf "$cache/lock.$$"
    fi
    take_lock || die "$cache: another build has just started; wait for it"
fi
fresh='' pulse=''
# A shell that is killed leaves its command behind; that command writes nowhere.
clean_up() {
    [ -z "$pulse" ] || kill "$pulse" 2>/dev/null || true
    rm -rf "$cache/lock" ${fresh:+"$fresh"}
}
trap clean_up EXIT

metadata=$(cd "$source" && cargo metadata --format-version 1 --locked) || die "cargo metadata failed (the reason is above)"
manifest=$(printf '%s\n' "$metadata" | grep -o '"manifest_path":"[^"]*/llama-cpp-sys-2[^/"]*/Cargo\.toml"' | cut -d '"' -f 4 || true)
[ -e "$manifest" ] || die "the sources of llama-cpp-sys-2 $binding_version were not found"

copy_llama() {
    mkdir "$1"
    case $name in
        changed-*)
            # shellcheck disable=SC2086
            (cd "$checkout" && { git ls-files -z && git ls-files -z --others --exclude-standard -- $code; } |
                while IFS= read -r -d '' file; do [ ! -e "$file" ] && [ ! -L "$file" ] || printf '%s\0' "$file"; done |
                tar --null -T - -cf -) | tar -xf - -C "$1"
            ;;
        *files-*) (cd "$checkout" && tar --exclude ./.git -cf - .) | tar -xf - -C "$1" ;;
        *) git -C "$checkout" archive "$full" | tar -xf - -C "$1" ;;
    esac
}

# Complete or not there at all: the copy gets its name last.
if ! [ -d "$binding" ] || [ "${name#changed-}" != "$name" ]; then
    fresh=$place/new.$$
    mkdir "$fresh"
    (cd "$(dirname "$manifest")" && tar --exclude ./llama.cpp -cf - .) | tar -xf - -C "$fresh"
    sed "s/^version = \"$binding_version\"\$/version = \"$binding_version+$name\"/" "$fresh/Cargo.toml" >"$fresh/Cargo.toml.new"
    mv "$fresh/Cargo.toml.new" "$fresh/Cargo.toml"
    copy_llama "$fresh/llama.cpp"
    if [ "${name#changed-}" != "$name" ]; then
        files=$(digest_of "$fresh/llama.cpp")
        # The binding's build script does not watch every header.
        if [ "$files" != "$(cat "$place/files" 2>/dev/null || true)" ]; then touch "$fresh/build.rs"; fi
        printf '%s\n' "$files" >"$place/files"
    fi
    rm -rf "$binding"
    mv "$fresh" "$binding"
fi

# Another revision that was built meanwhile would let cargo compile this program's own code again, which takes minutes. All that the
# program was made of has one digest: these sources, the compilers, their flags, the revision.
digest_of_build() {
    {
        cd "$source"
        [ ! -e .git ] || git rev-parse HEAD || true
        if [ -e .git ]; then
            git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done
        else
            find . \( -name target -o -name out -o -name .git \) -prune -o -type f -print0
        fi | LC_ALL=C sort -z | xargs -0 $(command -v sha256sum || printf 'shasum -a 256')
        rustc --version --verbose
        "${CXX:-c++}" --version
        printf '%s\n' "$variables" "$commit" "$number" "$files" "${RUSTFLAGS:-}" "$@"
    } 2>&1 | digest_of_standard_input
}
made_of=$(digest_of_build "$@")
if [ -x "$place/ggufbench" ] && [ "$made_of" = "$(cat "$place/made-of" 2>/dev/null || true)" ]; then
    printf '%s\n' "$place/ggufbench"
    exit 0
fi
rm -f "$place/made-of"

# Cargo shall take this binding, and Cargo.toml and Cargo.lock of the checkout shall not change: a folder with own copies of both, and
# with links to everything else.
package=$place/package
mkdir -p "$package"
find "$package" -type l -exec rm -f {} +
for entry in "$source"/* "$source/.cargo"; do
    case ${entry##*/} in
        Cargo.toml | Cargo.lock | target | out) continue ;;
        # Cargo reads the settings of all folders above: once is enough.
        .cargo) case $place in "$source"/*) continue ;; esac ;;
    esac
    ln -s "$entry" "$package/${entry##*/}"
done
# A file that has not changed keeps its time, because cargo compares times.
replace() { if cmp -s "$1" "$2"; then rm "$1"; else mv "$1" "$2"; fi; }
{ cat "$source/Cargo.toml" && printf '\n[patch.crates-io]\nllama-cpp-sys-2 = { path = "../llama-cpp-sys-2" }\n'; } >"$package/Cargo.toml.new"
replace "$package/Cargo.toml.new" "$package/Cargo.toml"
awk -v version="$binding_version+$name" '
    /^name = / { ours = $3 == "\"llama-cpp-sys-2\"" }
    ours && /^version = / { $0 = "version = \"" version "\"" }
    !(ours && /^(source|checksum) = /)' "$source/Cargo.lock" >"$package/Cargo.lock.new"
replace "$package/Cargo.lock.new" "$package/Cargo.lock"
# llama.cpp asks git which commit it is. In the cache git finds no repository, or that of ggufbench.
printf 'set(LLAMA_BUILD_NUMBER %s)\nset(LLAMA_BUILD_COMMIT "%s")\n' "${number:-0}" "${commit:-unknown}" >"$place/llama.cmake"
rm -f "$current"
ln -s "$place" "$current"

# --- the build ------------------------------------------------------------------------------------

title="llama.cpp${number:+ b$number}${commit:+ $commit}"
[ -n "$number$commit" ] || title="llama.cpp of $checkout (files $files)"
build() {
    export GIT_CEILING_DIRECTORIES="$place:$current" CMAKE_PROJECT_INCLUDE="$place/llama.cmake" GGUFBENCH_SOURCE="$source"
    export GGUFBENCH_LLAMA_COMMIT="$commit" GGUFBENCH_LLAMA_NUMBER="$number" GGUFBENCH_LLAMA_FILES="$files"
    if [ -z "${CMAKE_GENERATOR:-}" ] && command -v ninja >/dev/null; then export CMAKE_GENERATOR=Ninja; fi
    export CCACHE_BASEDIR="${CCACHE_BASEDIR:-$cache}" CCACHE_NOHASHDIR=1
    # A program that stays from another revision must not be taken for this one's.
    unset CARGO_BUILD_TARGET
    rm -f "$cache/target/release/ggufbench"
    cd "$package"
    cargo build --manifest-path "$current/package/Cargo.toml" --release --locked --target-dir "$cache/target" "$@" </dev/null >"$log" 2>&1
}
# The number of compiled files of llama.cpp, each minute: cargo says nothing while the binding's build script runs.
heartbeat() {
    local minutes=0 count
    while sleep 60 </dev/null >/dev/null 2>&1; do
        minutes=$((minutes + 1))
        count=$(find "$cache/target/release/build" -path '*/llama-cpp-sys-2-*/out/build/*' -name '*.o' -newer "$place/llama.cmake" 2>/dev/null | wc -l)
        say "$title: $minutes min; $((count)) files of llama.cpp are compiled"
    done
}

say "$title: building; the first time takes 5 to 15 minutes on two cores; log: $log"
heartbeat &
pulse=$!
began=$SECONDS
code=0
(build "$@") || code=$?
kill "$pulse" 2>/dev/null || true
wait "$pulse" 2>/dev/null || true
pulse=''
if [ "$code" -eq 0 ]; then
    rm -f "$place/ggufbench.new"
    cp "$cache/target/release/ggufbench" "$place/ggufbench.new"
    mv -f "$place/ggufbench.new" "$place/ggufbench"
    printf '%s\n' "$made_of" >"$place/made-of"
    say "$title: built in $((SECONDS - began)) s"
    printf '%s\n' "$place/ggufbench"
    exit 0
fi
[ "$code" -lt 128 ] || exit "$code"

# --- why it failed --------------------------------------------------------------------------------

# What the compilers miss, each once, in the order of the log: names of functions, fields, types and headers, and CMake's reasons.
missing() {
    sed "s/‘/'/g; s/’/'/g; s/\`/'/g" "$log" | awk '
        function tell(what) { if (what != "" && !(what in said)) { said[what] = 1; print what } }
        function quoted(n,   part) { split($0, part, "\047"); return part[2 * n] }
        /CMake Error at/ { at = $0; sub(/^.*CMake Error at /, "", at); sub(/[: ].*$/, "", at); wait = 1; next }
        wait && NF { sub(/^ *(---? )?(stderr)? */, ""); tell("CMake, " at ": " $0); wait = 0; next }
        # A declaration that exists and has changed is named by the place where the compiler sees it.
        /^error\[E(0425|0432|0433|0412|0422|0423|0531|0405|0407|0583)\]/ { tell(quoted(1)); next }
        /^error\[E(0560|0026)\]/ { tell(quoted(1) "." quoted(2)); next }
        /^error\[E(0609|0599)\]/ { tell(quoted(2) == "" ? quoted(1) : quoted(2) "." quoted(1)); next }
        /^error\[E(0061|0308|0063|0277|0605|0606|0004|0023|0027)\]/ { changed = $0; next }
        changed != "" && / --> / { place = $NF; sub(/^.*\/(registry\/src\/[^\/]*|current\/package)\//, "", place); sub(/:[0-9]+$/, "", place)
            sub(/^error\[E[0-9]+\]: /, "", changed); tell(place " (" changed ")"); changed = ""; next }
        /error: .*was not declared|error: .*has not been declared|error: use of undeclared|error: unknown type name|error: no type named/ { tell(quoted(1)); next }
        /error: .*(has no member named|no member named)/ { tell(quoted(2) == "" ? quoted(1) : quoted(1) "." quoted(2)); next }
        /error: .*is not a member of/ { tell(quoted(2) "::" quoted(1)); next }
        /error: .*(No such file or directory|file not found)/ { sub(/^.*error: /, ""); sub(/: No such file.*$/, ""); gsub(/\047/, ""); sub(/ file not found$/, ""); tell($0); next }
        /undefined reference to/ { tell(quoted(1)); next }
        /undefined symbol: / { sub(/^.*undefined symbol: /, ""); tell($1); next }
    '
}
# An error in a file of llama.cpp: of the user's own change, more likely than of the binding.
own=$(grep -E 'llama\.cpp/[^ ]*:[0-9]+(:[0-9]+)?: (fatal )?error:' "$log" | head -n 1 | sed 's/^.*llama\.cpp\///' || true)
symbols=$(missing)
if [ -n "$own" ]; then
    say "$title: llama.cpp itself does not compile: $own"
elif [ -n "$symbols" ]; then
    n=$(printf '%s\n' "$symbols" | wc -l)
    shown=$(printf '%s\n' "$symbols" | head -n 6 | awk 'NR > 1 { printf ", " } { printf "%s", $0 }')
    [ "$n" -le 6 ] || shown="$shown and $((n - 6)) more"
    say "$title: the binding (llama-cpp-sys-2 $binding_version) does not compile against it."
    say "  missing or changed there: $shown"
else
    say "$title: was not built: $(grep -E '^(error|fatal)|error:' "$log" | tail -n 1 || true)"
fi
say "  the whole log: $log"
say "  the next way is a program of that llama.cpp itself: ggufbench ab --program-$side 'PATH/llama-bench'"
exit 1
