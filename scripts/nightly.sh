#!/usr/bin/env bash
# One night: `ggufbench nightly` with the program of this checkout. docs/NIGHTLY.md describes the set-up.
# GGUFBENCH names another program [default: target/release/ggufbench of this script's checkout, else on PATH].
set -eu
own=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/target/release/ggufbench
program=${GGUFBENCH:-$own}
[ -n "${GGUFBENCH:-}" ] || [ -x "$program" ] || program=ggufbench
command -v "$program" >/dev/null || {
    echo "nightly: ${GGUFBENCH:-ggufbench}: no such program; make build, or set GGUFBENCH" >&2
    exit 2
}
exec "$program" nightly "$@"
