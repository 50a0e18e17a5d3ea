#!/usr/bin/env bash
# Do forecasts from this machine's ceilings and the files' headers agree with measured decode steps? And forecasts of a curve
# fitted to other batch sizes? Prints the two tables of docs/ROOFLINE.md.
#
#   scripts/predict-check.sh [REPLICATES]     default 5: half an hour on two cores without other load
#
#   GGUFBENCH        the program [default: target/release/ggufbench]
#   CHECK_MODELS     [default: smollm2-135m-f16 -q8_0, synth:llama3.2-1b:q4_0 :q8_0]
#   CHECK_THREADS    [default: all]
#   CHECK_OUT        folder that keeps the runs [default: a temporary one]
#
# For each file, ceilings are measured anew, without any decode call of the file. Then the file is decoded: SmolLM2 at eight
# batch sizes, of which 8, 32 and 128 are held out of the fits, and the 1B model at 1, 8 and 32.
set -euo pipefail
cd "$(dirname "$0")/.."

replicates=${1:-5}
ours=${GGUFBENCH:-target/release/ggufbench}
read -ra models <<<"${CHECK_MODELS:-smollm2-135m-f16 smollm2-135m-q8_0 synth:llama3.2-1b:q4_0 synth:llama3.2-1b:q8_0}"
threads=(${CHECK_THREADS:+--threads "$CHECK_THREADS"})

die() { printf 'predict-check: %s\n' "$*" >&2 && exit 2; }

case $replicates in '' | *[!0-9]* | 0) die "'$replicates' is not a number of replicates" ;; esac
command -v "$ours" >/dev/null || die "no $ours: make build"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=${CHECK_OUT:-$work}
# Uses the ceilings of this check only, and none from another day.
export XDG_CACHE_HOME=$work/cache

for model in "${models[@]}"; do
    case $model in
        smollm2*) batches=1,2,4,8,16,32,64,128 ;;
        *) batches=1,8,32 ;;
    esac
    cells=(--batch "$batches" --n-prompt 64 --n-gen 32 --kv fit "${threads[@]}")
    # Directly before the run, because the speed of a shared machine changes within an hour.
    "$ours" ceiling --model "$model" "${threads[@]}" -o md
    "$ours" predict "$model" "${cells[@]}" -o md
    name=check-$(printf %s "$model" | tr -c 'a-z0-9.-' '-')
    "$ours" --model "$model" "${cells[@]}" --replicates "$replicates" --repetitions 2 \
        --no-report --out "$out" --name "$name" >/dev/null
    "$ours" predict --check "$out"/*-"$name" --hold-out 8,32,128 -o md
done
