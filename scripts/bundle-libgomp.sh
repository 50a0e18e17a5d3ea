#!/usr/bin/env bash
# Copies libgomp, GCC's OpenMP library, into a folder with llama.cpp's libraries, because a bare system lacks it. Its license
# allows that, and its text goes with it (LICENSE-libgomp.txt). Without the text the library is not copied.
#
#   scripts/bundle-libgomp.sh FOLDER
#
#   LIBGOMP_LICENSE   files with the GPL 3 and with GCC's exception, where the system does not keep them as Debian, Ubuntu, Fedora
#                     and RHEL do
set -euo pipefail

folder=${1:?usage: scripts/bundle-libgomp.sh FOLDER}
license=$folder/LICENSE-libgomp.txt

# The file that the loader takes here; nothing if llama.cpp was built with another OpenMP library, or with none.
libgomp=$(ldd "$folder"/libggml-base.so* | awk '$1 == "libgomp.so.1" { print $3 }')
[ -n "$libgomp" ] || exit 0

# The first group of files that exists.
texts() {
    local files
    for files in "${LIBGOMP_LICENSE:-}" "/usr/share/common-licenses/GPL-3 /usr/share/doc/libgomp1/copyright" \
        "/usr/share/licenses/libgcc/COPYING3 /usr/share/licenses/libgcc/COPYING.RUNTIME"; do
        # shellcheck disable=SC2086
        if [ -n "$files" ] && ls $files >/dev/null 2>&1; then printf '%s\n' "$files" && return; fi
    done
}

files=$(texts)
if [ -z "$files" ]; then
    printf 'bundle-libgomp: %s is not copied, because its license was not found (LIBGOMP_LICENSE): ' "$libgomp" >&2
    printf 'machines that use the folder need libgomp installed\n' >&2
    exit 0
fi
system=$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)
package=$({ dpkg-query -W -f '${Package} ${Version}' libgomp1 || rpm -q libgomp || true; } 2>/dev/null)
{
    cat <<TEXT
libgomp.so.1 is GCC's OpenMP library, an unchanged copy of the file in ${package:-an unknown package} of
${system:-an unknown system}. Its source is in that system's source package, and at https://gcc.gnu.org. It is under the GNU
General Public License, version 3 or later, with the GCC Runtime Library Exception. Both texts follow. If the file is deleted,
the program uses the system's libgomp.

TEXT
    # shellcheck disable=SC2086
    cat $files
} >"$license"
cp -L "$libgomp" "$folder/libgomp.so.1"
