#!/usr/bin/env bash
# Installs the archive and the wheel of target/dist in a bare system, and uses the program there: without network, and without
# libgomp even if the system has it. ROOT stays as it is.
#
#   scripts/install-check.sh [--measure] ROOT     ROOT: as `debootstrap --variant=minbase bookworm ROOT` makes it
#
#   --measure      also measures the synthetic model each time, and prints the seconds from the unpacking to the table
#   PYTHON_PREFIX  a Python with pip for the wheel, where ROOT has none: the folder above bin/python3
#
# The script needs root's rights, for the mounts. Exit code 1 if a command failed.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'install-check: %s\n' "$*" >&2 && exit 2; }

export MEASURE=no
if [ "${1:-}" = --measure ]; then MEASURE=yes && shift; fi
[ $# -eq 1 ] && [ -d "$1/usr" ] || die "usage: scripts/install-check.sh [--measure] ROOT"
[ "$(id -u)" = 0 ] || die "only root may mount"
ROOT=$(realpath "$1") DIST=$(realpath "${CARGO_TARGET_DIR:-target}/dist")
[ -f "$DIST/SHA256SUMS" ] || die "no $DIST/SHA256SUMS: run make package first"
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir "$WORK"/{upper,work,system}
export ROOT DIST WORK PYTHON_PREFIX=${PYTHON_PREFIX:-}

cat >"$WORK/inside" <<'INSIDE'
failed=0
check() {
    local code=0
    "$@" </dev/null >/tmp/output 2>&1 || code=$?
    if [ $code -eq 0 ]; then echo "ok      $*"; else failed=1 && echo "exit $code  $*" && cat /tmp/output; fi
}
use() {
    check ggufbench --version
    check ggufbench -h
    check ggufbench sweep --help
    check ggufbench model list
    check ggufbench devices
    check ggufbench --model synth:tiny:q4_0 --dry-run
    check ggufbench sweep "$1/sweeps/quick.toml" --model synth:tiny:q4_0 --dry-run
    [ "$MEASURE" = no ] || check ggufbench
    [ "$MEASURE" = no ] || echo "$((SECONDS - started)) s from the unpacking to the table"
}
sed -n 's/^PRETTY_NAME=//p' /etc/os-release
cd /dist
check sha256sum -c SHA256SUMS
cd /tmp

echo "The archive:"
started=$SECONDS
mkdir /tmp/unpacked /tmp/bin
tar -C /tmp/unpacked -xzf /dist/ggufbench-*.tar.gz
ln -s /tmp/unpacked/ggufbench-*/ggufbench /tmp/bin/
PATH=/tmp/bin:$PATH use /tmp/unpacked/ggufbench-*

python=${PYTHON_PREFIX:-/usr}/bin/python3
if "$python" -m pip --version >/dev/null 2>&1; then
    echo "The wheel, by $("$python" --version):"
    started=$SECONDS
    # pip of outside the environment, because a bare system may lack what venv needs to put it inside.
    check "$python" -m venv --without-pip /tmp/venv
    modules=$("$python" -c 'import os, pip; print(os.path.dirname(os.path.dirname(pip.__file__)))')
    check env PYTHONPATH="$modules" /tmp/venv/bin/python -m pip install --no-index --no-cache-dir /dist/ggufbench-*.whl
    PATH=/tmp/venv/bin:$PATH use /tmp/venv/lib/python3*/site-packages/ggufbench/program
else
    echo "The wheel is not tried: $python with pip is not there (PYTHON_PREFIX)"
fi
exit $failed
INSIDE

unshare --mount --net --pid --fork bash -euc '
    system=$WORK/system
    mount --make-rprivate /
    mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=$WORK/upper,workdir=$WORK/work" "$system"
    rm -f "$system"/usr/lib/*/libgomp.so* "$system"/usr/lib64/libgomp.so*
    mount -t proc proc "$system/proc"
    mount --rbind /sys "$system/sys"
    mount --rbind /dev "$system/dev"
    for folder in "$DIST:/dist" ${PYTHON_PREFIX:+"$PYTHON_PREFIX:$PYTHON_PREFIX"}; do
        mkdir -p "$system${folder#*:}"
        mount --bind -o ro "${folder%%:*}" "$system${folder#*:}"
    done
    cp "$WORK/inside" "$system/tmp/inside"
    exec chroot "$system" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin NO_COLOR=1 \
        MEASURE="$MEASURE" PYTHON_PREFIX="$PYTHON_PREFIX" bash /tmp/inside
'
