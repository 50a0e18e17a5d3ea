#!/usr/bin/env bash
# Does a synthetic model run at the speed of the real file whose shape it has? Both are measured in one
# run, in shuffled turns, and compared within each replicate.
#
#   scripts/twin.sh [REPLICATES]     default 10; exit 0 when every median ratio lies in 0.98..1.02
#
#   GGUFBENCH     the program [default: target/release/ggufbench]
#   TWIN_TYPES    [default: q4_0 q8_0 f16]      TWIN_BATCHES  [default: 1,8,32]
set -euo pipefail
cd "$(dirname "$0")/.."

replicates=${1:-10}
batches=${TWIN_BATCHES:-1,8,32}
ours=${GGUFBENCH:-target/release/ggufbench}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "Decode step of the real file / of its synthetic twin, medians of $replicates processes each, compared within"
echo "a replicate."
echo
echo "| type | batch | real ms | twin ms | median ratio | min..max |  |"
echo "|---|---:|---:|---:|---:|---:|---|"
outside=0
for type in ${TWIN_TYPES:-q4_0 q8_0 f16}; do
    "$ours" --model "smollm2-135m-$type,synth:smollm2-135m:$type" --batch "$batches" --n-prompt 32 --n-gen 48 \
        --kv fit --replicates "$replicates" --repetitions 3 --no-report --out "$work/$type" -o jsonl >"$work/cells" 2>"$work/log" ||
        { cat "$work/log" >&2 && exit 2; }
    python3 - "$type" "$work/$type"/*/run.jsonl <<'PYTHON' || outside=1
import collections, json, statistics, sys

steps = collections.defaultdict(lambda: collections.defaultdict(list))
for line in open(sys.argv[2]):
    record = json.loads(line)
    if record["kind"] == "repetition":
        case = record["case"]
        times = [
            call["build_ns"] + call["submit_ns"] + call["wait_ns"] + call["sample_ns"]
            for call in record["calls"]
            if call["phase"] == "decode"
        ]
        twin = case["model"].startswith("synth-")
        steps[case["n_seq"]][record["replicate"], twin].append(statistics.median(times))
bad = False
for batch, sides in sorted(steps.items()):
    median = {side: statistics.median(times) for side, times in sides.items()}
    replicates = sorted({replicate for replicate, _ in median})
    real, twin = ([median[r, side] for r in replicates] for side in (False, True))
    ratios = [a / b for a, b in zip(real, twin)]
    middle = statistics.median(ratios)
    inside = 0.98 <= middle <= 1.02
    bad |= not inside
    print(
        f"| {sys.argv[1]} | {batch} | {statistics.median(real) / 1e6:.2f} | {statistics.median(twin) / 1e6:.2f} "
        f"| {middle:.3f} | {min(ratios):.3f}..{max(ratios):.3f} | {'' if inside else 'outside'} |"
    )
sys.exit(bad)
PYTHON
done
exit $outside
