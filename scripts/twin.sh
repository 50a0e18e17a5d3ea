#!/usr/bin/env bash
# Does a synthetic model have the speed of the real file of the same shape? Both are measured in one
# run, in shuffled turns, and compared within each replicate.
#
#   scripts/twin.sh [REPLICATES]     default 8: ten minutes on two cores
#
#   GGUFBENCH     the program [default: target/release/ggufbench]
#   TWIN_TYPES    [default: q4_0 q8_0 f16]      TWIN_BATCHES  [default: 1,8,32]
set -euo pipefail
cd "$(dirname "$0")/.."

ours=${GGUFBENCH:-target/release/ggufbench}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for type in ${TWIN_TYPES:-q4_0 q8_0 f16}; do
    "$ours" --model "smollm2-135m-$type,synth:smollm2-135m:$type" --batch "${TWIN_BATCHES:-1,8,32}" \
        --n-prompt 32 --n-gen 48 --kv fit --replicates "${1:-8}" --repetitions 3 \
        --no-report --out "$work/$type" >"$work/table"
    "$ours" compare "$work/$type"/* --axis model --same-within 2%
done
