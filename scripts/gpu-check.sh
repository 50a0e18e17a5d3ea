#!/usr/bin/env bash
# Checks and measures a CUDA machine with the kit of scripts/gpu-kit.sh alone, without Rust and network.
#
#   ./gpu-check.sh [OUT]          [default: gpu-check-out]; records and reports, under 10 MB
#
#   GPU_CHECK_SECONDS   time for all steps [default: 520]. The most valuable steps come first; a step without
#                       time left says so
#   GPU_CHECK_STEPS     only these steps, e.g. "devices throughput" [default: all]
#   GPU_CHECK_MODELS    folder for the models of 30 GB [default: /dev/shm if it has enough space, otherwise OUT]
#   GPU_CHECK_SHAPE     their shape [default: llama3-8b]
#   GPU_CHECK_LAYERS    layers on the GPU [default: 99]; 0 tests the script on a machine without a GPU
#   GPU_CHECK_BATCHES, GPU_CHECK_REPLICATES
#                       batch sizes and processes of the step throughput [default: 1,2,4,8,16,32,64,128 and 2]
#   GPU_CHECK_LLAMA_CPP a folder of llama.cpp's own tools [default: the kit's llama.cpp]
#
# Exit code: 0 if each step that had time succeeded, 1 otherwise.
set -uo pipefail

kit=$(cd "$(dirname "$0")" && pwd)
out=${1:-gpu-check-out}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
limit=${GPU_CHECK_SECONDS:-520}
steps=${GPU_CHECK_STEPS:-devices agree output quality throughput pairs parity requests ceilings predict energy memory exhausted report}
shape=${GPU_CHECK_SHAPE:-llama3-8b}
layers=${GPU_CHECK_LAYERS:-99}
theirs=${GPU_CHECK_LLAMA_CPP:-$kit/llama.cpp}/llama-batched-bench
batches=${GPU_CHECK_BATCHES:-1,2,4,8,16,32,64,128}
replicates=${GPU_CHECK_REPLICATES:-2}
real=$kit/model.gguf
ours=$kit/ggufbench
types="q4_k_m q8_0 f16"
largest=$((5 + 9 + 17))
log=$out/log
: >"$log"
declare -A made

say() { printf '[%4d s] %s\n' "$SECONDS" "$*" | tee -a "$log"; }
left() { echo $((limit - SECONDS)); }
wanted() { case " $steps " in *" $1 "*) ;; *) return 1 ;; esac; }

# Finds the CUDA libraries of the plug-in. If the system's loader does not know them, a toolkit or a Python package
# may have them.
find_cuda() {
    local name folder
    for name in libcudart.so.13 libcublas.so.13 libcublasLt.so.13; do
        ldconfig -p 2>/dev/null | grep -q "$name" && continue
        folder=$(find /usr/local /usr/lib /opt "$kit" -name "$name" -printf '%h\n' 2>/dev/null | head -n 1)
        if [ -n "$folder" ]; then
            case ":${LD_LIBRARY_PATH:-}:" in *":$folder:"*) ;; *) export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" ;; esac
        else
            say "$name was not found: the CUDA plug-in will not load"
        fi
    done
}

models_folder() {
    local free
    free=$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1)
    if [ "${free:-0}" -gt $(((largest + 4) * 1024 * 1024)) ]; then echo /dev/shm/gpu-check-models; else echo "$out/models"; fi
}

# Creates all files at the same time, in the background, because each is bound by one core.
make_models() {
    models=${GPU_CHECK_MODELS:-$(models_folder)}
    mkdir -p "$models"
    say "making $shape as $types in $models"
    for type in $types; do
        [ -f "$models/$shape-$type.gguf" ] && continue
        "$ours" model synth "$shape" "$type" --output "$models/$shape-$type.gguf" --force >"$out/synth-$type.log" 2>&1 &
        made[$type]=$!
    done
}

# Waits for a model, and returns the name of its file, or nothing if it could not be created.
model() {
    local file=$models/$shape-$1.gguf
    if [ -n "${made[$1]:-}" ]; then wait "${made[$1]}" 2>/dev/null; made[$1]=; fi
    if [ -f "$file" ]; then found=$file; else found=; say "no $shape-$1: $(tail -n 1 "$out/synth-$1.log" 2>/dev/null)"; fi
}

failed=0
# step NAME SECONDS COMMAND...: runs the command if the step is selected and enough time is left.
step() {
    local name=$1 needs=$2 began=$SECONDS code
    shift 2
    wanted "$name" || return 0
    if [ "$(left)" -lt "$needs" ]; then
        say "$name: not enough time left (it needs about $needs s, $(left) s are left)"
        return 0
    fi
    say "$name"
    "$@" >"$out/$name.txt" 2>"$out/$name.err"
    code=$?
    [ -s "$out/$name.err" ] || rm -f "$out/$name.err"
    if [ $code -ne 0 ]; then
        failed=1
        say "$name: exit code $code: $(tail -n 1 "$out/$name.err" 2>/dev/null)"
    fi
    say "$name took $((SECONDS - began)) s"
    return $code
}

bench() { # limited to the time that is left
    timeout -s INT -k 10 "$(($(left) > 10 ? $(left) - 5 : 5))" "$ours" "$@"
}

devices() {
    "$ours" devices && "$ours" devices -o json >"$out/devices.json"
    nvidia-smi 2>/dev/null || echo "no nvidia-smi"
}

# Compares logits and greedy answers on CPU and GPU, for the real model, if the kit has one.
agree() {
    [ -f "$real" ] || { echo "the kit has no real model"; return 0; }
    "$ours" devices --check "$real"
    local logits=$?
    "$ours" devices --check "$real" -o json >"$out/agreement.json"
    local flags="--n-requests 8 --n-gen 48 --temperature 0 --rounds 1 --class short --kv fit --no-report --out $out/agree"
    bench requests --model "$real" --n-gpu-layers 0 $flags --name cpu || return
    bench requests --model "$real" --n-gpu-layers "$layers" $flags --name gpu || return
    python3 - "$out"/agree/*cpu/run.jsonl "$out"/agree/*gpu/run.jsonl <<'PYTHON'
import json, sys
def texts(path):
    found = {}
    for line in open(path):
        line = json.loads(line)
        if line.get("kind") == "request":
            found[line["number"] if "number" in line else len(found)] = line.get("timeline", line).get("text", "")
    return found
cpu, gpu = map(texts, sys.argv[1:3])
same = sum(cpu[k] == gpu.get(k) for k in cpu)
for k in cpu:
    n = next((i for i, (a, b) in enumerate(zip(cpu[k], gpu.get(k, ""))) if a != b), min(len(cpu[k]), len(gpu.get(k, ""))))
    print("request %s: equal for %d of %d characters" % (k, n, len(cpu[k])))
print("%d of %d greedy answers are equal to the last character" % (same, len(cpu)))
print("Another order of summation makes greedy answers of small or strongly quantised models differ early. Read both answers before you judge.")
sys.exit(0 if cpu and len(cpu) == len(gpu) and all(gpu.values()) else 1)
PYTHON
    [ $? -eq 0 ] && { [ $logits -eq 0 ] || ! grep -Eq '"kind": "i?gpu"' "$out/devices.json"; }
}

# Every batch size must compute what one sequence alone does, and the record keeps the output.
output() {
    [ -f "$real" ] || { echo "the kit has no real model"; return 0; }
    bench --model "$real" --batch 1,8,32 --n-prompt 32 --n-gen 32 --kv fit --n-gpu-layers "$layers" --check-output \
        --flash-attn on,off --replicates 1 --repetitions 1 --no-report --out "$out/runs" --name output
}

# The real model requantised, scored on the device. Its F16 file has the error of its own type, so the figures are differences
# of files and not accuracy.
quality() {
    [ -f "$real" ] || { echo "the kit has no real model"; return 0; }
    local type small=$models/small
    mkdir -p "$small"
    for type in f16 q8_0 q4_0; do
        "$ours" model quantize "$real" "$type" "$small/real-$type.gguf" --force >>"$log" 2>&1 || return
    done
    bench quality --base "$small/real-f16.gguf" "$small/real-q8_0.gguf" "$small/real-q4_0.gguf" --chunks ${GPU_CHECK_CHUNKS:-32} \
        --n-gpu-layers "$layers" --out "$out/runs" --name quality
}

# Two questions in turns, each until it is decided: the program against a copy of itself, and flash attention on against off.
pairs() {
    model "${1:-q8_0}"
    local copy=$models/copy seconds=$(($(left) * 12 / 100))
    rm -rf "$copy" && cp -rL "$kit" "$copy" && printf '\n' >>"$copy/ggufbench" || return
    local flags="--model $found --batch 1,32 --n-prompt 16 --n-gen 48 --kv fit --n-gpu-layers $layers --threads 8 --no-report"
    bench ab $flags --worker-b "$copy/ggufbench" --budget "${seconds}s" --out "$out/runs" --name same || return
    bench ab $flags --budget "${seconds}s" --out "$out/runs" --name attention -- --flash-attn on -- --flash-attn off
}

# Whole requests, closed loop, with a model that never ends by itself.
requests() {
    model "${1:-q8_0}"
    bench requests --model "$found" --batch 1,8,32 --n-requests 32 --n-gen 64 --class short --kv fit --n-gpu-layers "$layers" --threads 8 \
        --budget "$(($(left) * 20 / 100))s" --out "$out/runs" --name requests
}

files() { list=; for type in $types; do model "$type"; [ -z "$found" ] || list=${list:+$list,}$found; done; }

throughput() {
    files
    bench --model "$list" --batch "$batches" --n-prompt 32 --n-gen 80 --kv fit --n-gpu-layers "$layers" --threads 8 \
        --replicates "$replicates" --min-repetitions 2 --max-repetitions 4 --budget "$(($(left) * 45 / 100))s" --out "$out/runs" --name throughput
}

# Both programs decode the same file with the same geometry, in turns. Each is one process for all batches.
parity() {
    [ -x "$theirs" ] || { echo "the kit has no llama-batched-bench"; return 0; }
    model "${1:-q8_0}"
    local pair n_threads=8 few=${GPU_CHECK_PARITY_BATCHES:-1,8,32,128} cells
    cells=$((${few##*,} * 256))
    for pair in 1 2 3; do
        local order="ours theirs"
        [ $((pair % 2)) -eq 1 ] || order="theirs ours"
        for tool in $order; do
            if [ $tool = ours ]; then
                bench --model "$found" --batch "$few" --n-prompt 32 --n-gen 80 --no-sample --kv fit --n-gpu-layers "$layers" \
                    --threads $n_threads --replicates 1 --repetitions 1 --no-report --out "$out/parity" --name "ours$pair" -o json >"$out/ours$pair.json" || return
            else
                LD_LIBRARY_PATH="$(dirname "$theirs"):$kit${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" timeout "$(left)" "$theirs" -m "$found" -c "$cells" -no-kvu -npp 32 -ntg 80 -npl "$few" \
                    -ngl "$layers" -t $n_threads --output-format jsonl >"$out/theirs$pair.jsonl" || return
            fi
        done
    done
    python3 - "$out" <<'PYTHON'
import json, sys
from statistics import median
out, rates = sys.argv[1], {}
for pair in (1, 2, 3):
    for row in json.load(open(f"{out}/ours{pair}.json")):
        rates.setdefault(row["n_seq"], {}).setdefault("ours", []).append(row["decode_tokens_per_s"])
    for line in open(f"{out}/theirs{pair}.jsonl"):
        if line.startswith("{"):
            row = json.loads(line)
            rates.setdefault(row["pl"], {}).setdefault("theirs", []).append(row["speed_tg"])
print("batch  ggufbench  llama-batched-bench  median ratio  min..max   (decode tokens/s)")
for batch, of in sorted(rates.items()):
    ratios = [a / b for a, b in zip(of["ours"], of["theirs"])]
    print("%5d %10.1f %20.1f %13.4f  %.3f..%.3f" % (batch, median(of["ours"]), median(of["theirs"]), median(ratios), min(ratios), max(ratios)))
PYTHON
}

ceilings() {
    files
    local type models='' device=gpu
    [ "$layers" != 0 ] || device=cpu
    for type in ${list//,/ }; do models="$models --model $type"; done
    bench ceiling $models --device $device -o json >"$out/ceilings.json" && "$ours" ceiling $models --device $device
}

# The run of the step `throughput`.
measured() {
    local run
    run=$(ls -d "$out"/runs/*throughput 2>/dev/null | tail -n 1)
    [ -n "$run" ] || { echo "nothing was measured: the step throughput did not run" >&2; return 1; }
    echo "$run"
}

predict() {
    local run
    run=$(measured) && bench predict --check "$run"
}

# Ten seconds or more of identical steps, because the energy counter is coarse.
energy() {
    files
    bench --model "$list" --batch 1,32 --n-prompt 16 --n-gen 480 --kv fit --n-gpu-layers "$layers" --threads 8 \
        --replicates 1 --repetitions 3 --budget "$(($(left) * 60 / 100))s" --no-report --out "$out/runs" --name energy
}

# A cell that cannot fit must be skipped before it is loaded.
memory() {
    model q4_k_m
    bench --model "$found" --batch 256 --n-ctx 131072 --n-prompt 16 --n-gen 8 --n-gpu-layers "$layers" --replicates 1 -r 1 \
        --no-report --out "$out/runs" --name too-large
    [ $? -eq 1 ] || return
    grep -q '"skipped"' "$out"/runs/*too-large/run.jsonl
}

# Another process takes the device's memory as soon as the model is loaded. The cell must fail with the reason, and the run must
# go on to its end.
exhausted() {
    grep -Eq '"kind": "gpu"' "$out/devices.json" || { echo "no GPU"; return 0; }
    model q4_k_m
    python3 -c "$take_memory" "$(($(stat -c %s "$found") * 9 / 10))" &
    local taker=$! code
    sleep 2
    bench --model "$found" --batch 64 --n-ctx 8192 --n-prompt 16 --n-gen 8 --n-gpu-layers "$layers" --replicates 1 -r 1 \
        --no-report --out "$out/runs" --name exhausted
    code=$?
    kill $taker
    wait $taker 2>/dev/null
    [ $code -eq 1 ] && grep -q 'out of memory' "$out"/runs/*exhausted/run.jsonl
}
# Waits until the bytes of its argument have been allocated by others, then allocates all that is left, for at most a minute.
take_memory='
import ctypes, sys, time
cuda = ctypes.CDLL("libcudart.so.13")
def free():
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    assert cuda.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)) == 0
    return free.value
before, end, block = free(), time.time() + 60, 8 << 30
while before - free() < int(sys.argv[1]):
    if time.time() > end: sys.exit("nothing was loaded")
    time.sleep(0.002)
while block >= 16 << 20:
    if cuda.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(block)) != 0:
        cuda.cudaGetLastError()
        block //= 2
print("taken, %d MiB are left" % (free() >> 20), flush=True)
time.sleep(max(0, end - time.time()))
'

report() {
    local run
    run=$(measured) && "$ours" report "$run" && ls -l "$out"/runs/*
}

find_cuda
make_models
step devices 5 devices
step agree 30 agree
step output 15 output
step quality 20 quality
step throughput 60 throughput
step pairs 60 pairs q8_0
step parity 60 parity q8_0
step requests 40 requests q8_0
step ceilings 40 ceilings
step predict 5 predict
step energy 40 energy
step memory 15 memory
step exhausted 20 exhausted
step report 5 report
for type in $types; do [ -z "${made[$type]:-}" ] || kill "${made[$type]}" 2>/dev/null; done
case $models in "$out"/* | /dev/shm/gpu-check-models) rm -rf "$models" ;; esac
say "done"
exit $failed
