#!/usr/bin/env bash
# One night: measures tonight's program and the promoted one in turns until each cell is decided, keeps the history, and writes
# a summary in Markdown that is also readable as a plain mail. docs/NIGHTLY.md describes the set-up.
# The script uses only what macOS's bash 3.2 supports.
set -euo pipefail
# Names are compared as bytes, and messages are searched for fixed words.
export LC_ALL=C

usage() {
    cat <<'TEXT'
usage: scripts/nightly.sh [OPTIONS] [-- FLAGS FOR GGUFBENCH]

  --sweep FILE       the sweep to measure [default: sweeps/nightly.toml of this script's checkout]
  --budget TIME      wall time of the night, with the confirmation of a regression [default: the sweep's, else 5m]
  --tolerance SHARE  the slow-down that is accepted [default: 2%; with --nights the gate's, 3%]
  --promote          make tonight the baseline, whatever the verdict; exit 0

  --nights           measure tonight's program alone, and compare it with other nights
  --baseline WHAT    the other nights: last:N, pinned, or a run; implies --nights [default: last:14]
  --night-sd SHARE   spread between nights, assumed until the history shows it; implies --nights [default: the gate's, 3.5%]
  --requests         measure whole requests instead of a sweep: `ggufbench requests` with the flags after --; implies --nights
  --metric NAME      the metric that is judged [default: the gate's: step; with --requests request_latency]
  --paired           the default: measure the promoted program too, in turns with tonight's

  --out DIR          folder of the runs [default: out]
  --history DIR      folder of earlier nights [default: history, in the folder of the runs]
  --keep-nights N    number of nights to keep in both folders; the promoted night is always kept [default: 60 runs, and the
                     records of 180 nights in the history]
  --summary FILE     also write the summary to this file; it always goes to standard output

  GGUFBENCH          the program [default: target/release/ggufbench of this script's checkout, else on PATH]

exit codes: 0 pass, first night or promoted; 1 regression, seen twice, or an output that differs; 3 not decided; 2 error;
            130 interrupted
TEXT
}

# Shown text may have names from other programs. Characters that control a terminal, change the reading direction or are
# invisible become `?`.
harmless() {
    tr '\000-\010\013-\037\177' '?' |
        sed -e $'s/\xc2[\x80-\x9f]/?/g' -e $'s/\xe2\x80[\x8b-\x8f\xa8-\xae]/?/g' -e $'s/\xe2\x81[\xa0-\xaf]/?/g' -e $'s/\xef\xbb\xbf/?/g'
}
say() { printf 'nightly: %s\n' "${*//$'\n'/ }" | harmless >&2; }
# An error of this script must not end with bash's exit code 1, which means a regression.
orderly=no
trap '[ $orderly = yes ] || exit 2' EXIT
leave() {
    orderly=yes
    exit "$1"
}
# Ends the script before the night has begun, without a summary.
die() {
    say "$@"
    leave 2
}

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
sweep='' requests=no metric='' baseline='' tolerance='' night_sd='' out=out history='' summary='' budget=''
keep_nights=60 keep_history=180 asked_paired=no asked_nights=no promote=no
typed=("$@") in_turns=()
while [ $# -gt 0 ]; do
    # The same night, with both programs in turns.
    case $1 in
        --nights | --baseline | --night-sd) ;;
        --) in_turns+=("$@") ;;
        --sweep | --metric | --tolerance | --budget | --out | --history | --keep-nights | --summary) in_turns+=("$1" "${2:-}") ;;
        *) in_turns+=("$1") ;;
    esac
    case $1 in
        --sweep | --metric | --baseline | --tolerance | --night-sd | --budget | --out | --history | --keep-nights | --summary)
            [ -n "${2:-}" ] || die "$1 needs a value; --help says which"
            ;;
    esac
    case $1 in
        --sweep) sweep=$2 && shift ;;
        --requests) requests=yes ;;
        --metric) metric=$2 && shift ;;
        --baseline) baseline=$2 && shift ;;
        --tolerance) tolerance=$2 && shift ;;
        --night-sd) night_sd=$2 && shift ;;
        --budget) budget=$2 && shift ;;
        --out) out=${2%/} && shift ;;
        --history) history=${2%/} && shift ;;
        --keep-nights) keep_nights=$2 keep_history=$2 && shift ;;
        --summary) summary=$2 && shift ;;
        --paired) asked_paired=yes ;;
        --nights) asked_nights=yes ;;
        --promote) promote=yes ;;
        --) shift && break ;;
        -h | --help) usage && leave 0 ;;
        *) usage >&2 && die "'$1' is not an option of this script; flags for ggufbench go after --" ;;
    esac
    shift
done
flags=("$@")
: "${history:=$out/history}"

[ $asked_paired = no ] || [ $asked_nights = no ] || die "--paired and --nights: a night is one of them"
[ $asked_paired = no ] || [ $requests = no ] ||
    die "--requests cannot be --paired: requests are not measured in turns with another program"
paired=yes
[ $asked_paired = yes ] || [ "$asked_nights$requests$baseline$night_sd" = nono ] || paired=no
: "${baseline:=last:14}"
case $keep_nights in '' | *[!0-9]* | 0) die "--keep-nights '$keep_nights' is not a number of nights" ;; esac
case $baseline in
    last:*[!0-9]* | last: | last:0) die "--baseline '$baseline' is not a number of nights; say last:14" ;;
    last:*)
        [ "$keep_history" -ge "${baseline#last:}" ] ||
            die "--keep-nights $keep_history keeps fewer nights than --baseline $baseline needs"
        ;;
esac
if [ $requests = yes ]; then
    [ -z "$sweep" ] || die "--requests and --sweep: a night measures one of them"
fi
: "${sweep:=$checkout/sweeps/nightly.toml}"
[ -f "$sweep" ] || die "$sweep: no such sweep"
if [ $paired = yes ] &&
    grep -qE '^[[:space:]]*(\[[[:space:]]*"?requests"?[[:space:]]*[].]|"?requests"?[[:space:]]*[.=])' "$sweep"; then
    die "$sweep: has [requests], which are not measured in turns: leave them out, or measure with --nights"
fi
for folder in "$out" "$history" "$summary"; do
    case $folder in '~'*) die "$folder: ~ is not expanded here; write the full path, or ./$folder for a file of this name" ;; esac
done
# Checked before the measurement, not after it.
is_stream() { [ -e "$1" ] && [ ! -f "$1" ]; }
if [ -d "$summary" ]; then
    die "$summary: is a folder; name a file"
elif is_stream "$summary"; then
    [ -w "$summary" ] || die "$summary: cannot be written"
elif [ -n "$summary" ]; then
    mkdir -p "$(dirname "$summary")" 2>/dev/null || true
    [ -d "$(dirname "$summary")" ] && [ -w "$(dirname "$summary")" ] || die "$summary: cannot be written there"
fi

program=${GGUFBENCH:-$checkout/target/release/ggufbench}
[ -n "${GGUFBENCH:-}" ] || [ -x "$program" ] || program=ggufbench
program=$(command -v "$program") || die "${GGUFBENCH:-ggufbench}: no such program; make build, or set GGUFBENCH"
program=$(cd "$(dirname "$program")" && pwd -P)/$(basename "$program")
# The gate's rerun must use the engine of the measurement.
engine=()
for ((at = 0; at < ${#flags[@]}; at++)); do
    case ${flags[at]} in
        --engine) engine=(--engine "${flags[at + 1]:-}") ;;
        --engine=*) engine=("${flags[at]}") ;;
    esac
done

# Whole seconds, rounded up, of a time such as 5m, 90s, 1h30m or 500ms.
seconds_of() {
    awk -v text="$1" 'BEGIN {
        if (text == "") exit 1
        while (text != "") {
            if (!match(text, /^[0-9]+([.][0-9]+)?(ms|s|m|h)?/)) exit 1
            part = substr(text, 1, RLENGTH); text = substr(text, RLENGTH + 1)
            total += part * (part ~ /ms$/ ? 0.001 : part ~ /h$/ ? 3600 : part ~ /m$/ ? 60 : 1)
        }
        printf "%d", total + 0.999
    }'
}
# A budget after -- is the night's too: what it leaves is for the confirmation.
if [ $paired = yes ]; then
    kept=()
    for ((at = 0; at < ${#flags[@]}; at++)); do
        case ${flags[at]} in
            --budget | --budget=*)
                [ -z "$budget" ] || die "--budget twice: the night has one"
                if [ "${flags[at]}" = --budget ]; then
                    at=$((at + 1)) && budget=${flags[at]:-}
                else
                    budget=${flags[at]#*=}
                fi
                [ -n "$budget" ] || die "--budget needs a value; --help says which"
                ;;
            *) kept+=("${flags[at]}") ;;
        esac
    done
    flags=(${kept[@]+"${kept[@]}"})
    [ -n "$budget" ] || budget=$(sed -nE 's/^[[:space:]]*budget[[:space:]]*=[[:space:]]*"([^"]*)".*/\1/p' "$sweep" | head -n 1)
    : "${budget:=5m}"
fi
budget_s=0
[ -z "$budget" ] || budget_s=$(seconds_of "$budget") || die "--budget '$budget' is not a length of time; say 5m or 90s"

# --- one night at a time -------------------------------------------------------------------------------

# Locks the open file $1. The lock ends with the last process that has the file open. If the script is killed, the
# measurement that it started keeps the lock. A crash leaves no lock behind.
lock_open_file() {
    if command -v flock >/dev/null; then
        flock -n "$1"
    elif command -v perl >/dev/null; then
        perl -e 'use Fcntl ":flock"; open(my $f, ">>&=", $ARGV[0]) or die $!; exit !flock($f, LOCK_EX | LOCK_NB)' "$1"
    else
        die "no flock and no perl: one of them is needed to prevent two nights at once; install one"
    fi
}
tell_holder() {
    local holder pid
    holder=$(cat "$1" 2>/dev/null) || holder=''
    pid=${holder#process } && pid=${pid%% *}
    if [ -z "$holder" ]; then
        die "another nightly holds $1"
    elif kill -0 "$pid" 2>/dev/null || ps -p "$pid" >/dev/null 2>&1; then
        die "another nightly holds $1: $holder"
    fi
    die "another nightly, $holder, was killed, but what it started still measures and holds $1"
}
for folder in "$out" "$history"; do
    mkdir -p "$folder" 2>/dev/null && { : >>"$folder/nightly.lock"; } 2>/dev/null ||
        die "$folder: cannot write there: $({ mkdir -p "$folder" && : >>"$folder/nightly.lock"; } 2>&1 | tail -n 1)"
done
! [ "$out" -ef "$history" ] || die "$history: is the folder of the runs; the history needs a folder of its own"
exec 8>>"$out/nightly.lock" 9>>"$history/nightly.lock"
lock_open_file 8 || tell_holder "$out/nightly.lock"
lock_open_file 9 || tell_holder "$history/nightly.lock"

work='' new_file=''
clean_up() {
    rm -rf "$work"
    [ -z "$new_file" ] || rm -f "$new_file"
    { : >"$out/nightly.lock" && : >"$history/nightly.lock"; } 2>/dev/null || true
    [ $orderly = yes ] || exit 2
}
trap clean_up EXIT
# The text is emptied at an orderly end. It is for people only: on a full disk the lock holds without it.
cut_off=$(cat "$out/nightly.lock")
holder="process $$ since $(date '+%Y-%m-%d %H:%M:%S')"
{ echo "$holder" >"$out/nightly.lock" && echo "$holder" >"$history/nightly.lock"; } 2>/dev/null || true

work=$(mktemp -d) || die "no folder for temporary files"
mkfifo "$work/stderr" && : >"$work/log" && : >"$work/gate.md" && : >"$work/failed" && : >"$work/trend.md" ||
    die "$work: no room for temporary files"

interrupted=no child=''
on_signal() {
    interrupted=yes
    # Not -INT: background children of a shell ignore it.
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
trap on_signal INT TERM HUP

# Runs a command with its standard output in file $1. Its standard error is shown and logged. The command has its own process
# group, so that Ctrl-C reaches it once, through this script, and it can finish the current repetition.
watched() {
    local to=$1 code=0 own=0 log
    shift
    [ $interrupted = no ] || return 130
    tee "$work/log" <"$work/stderr" >&2 &
    log=$!
    set -m
    "$@" </dev/null >"$to" 2>"$work/stderr" &
    child=$!
    set +m
    [ $interrupted = no ] || kill -TERM "$child" 2>/dev/null || true
    while :; do
        code=0
        wait "$child" || code=$?
        # A signal ends the wait, not the child.
        kill -0 "$child" 2>/dev/null || break
    done
    # If the child ended in the same moment, the wait had the signal's code. The shell still knows the child's own.
    wait "$child" 2>/dev/null || own=$?
    [ $own = 127 ] || code=$own
    child=''
    wait "$log" 2>/dev/null || true
    # A command that came to a verdict has done its work, whatever signal arrived then.
    case $interrupted,$code in
        no,* | yes,0 | yes,1 | yes,3) ;;
        *) code=130 ;;
    esac
    return $code
}
last_words() {
    local words
    words=$(sed -n 's/^error: //p' "$work/log" | tail -n 1)
    [ -n "$words" ] || words=$(tail -n 1 "$work/log")
    printf '%s' "${words:-it said nothing}"
}

# --- the parts -----------------------------------------------------------------------------------------

# shellcheck source=scripts/nightly-folders.sh
. "$checkout/scripts/nightly-folders.sh"
# shellcheck source=scripts/nightly-summary.sh
. "$checkout/scripts/nightly-summary.sh"

# Replaces file $2 by file $1 in one step, so that a reader sees the old file or the new one. If $2 is a device or a pipe, the
# text is written to it. If $2 is a link, its target is replaced.
put() {
    local to=$2 next hops=0
    case $to in
        /dev/std* | /dev/fd/* | /proc/*/fd/*)
            cat "$1" >>"$to"
            return
            ;;
    esac
    if is_stream "$to"; then
        cat "$1" >"$to"
        return
    fi
    while next=$(readlink "$to"); do
        case $next in /*) to=$next ;; *) to=$(dirname "$to")/$next ;; esac
        hops=$((hops + 1))
        [ $hops -lt 40 ] || return 1
    done
    mkdir -p "$(dirname "$to")" && new_file=$to.new.$$ && cp "$1" "$new_file" && mv -f "$new_file" "$to" && new_file=''
}

# Writes the page of all nights beside the summary. It is advisory: where it fails, the summary says so and the verdict stays.
write_trend() {
    local to=$out
    [ -z "$summary" ] || is_stream "$summary" || to=$(dirname "$summary")
    set -- trend "$history" --to "$to"
    [ -z "$metric" ] || set -- "$@" --metric "$metric"
    if ! "$program" "$@" -o md >"$work/trend.md" 2>"$work/log" </dev/null; then
        : >"$work/trend.md"
        note "no trend could be written: $(last_words)"
    fi
}

# Ends the night with a verdict, an exit code and the reason in one line.
finish() {
    local code=$2
    trap '' INT TERM HUP
    [ "$1" != error ] || say "$3"
    if [ -f "$history/$night/run.jsonl" ]; then
        # The promoted program is the same every night, so its times show what the machine does.
        [ $paired = no ] || put "$old_run/run.jsonl" "$history/$night/promoted.jsonl" 2>/dev/null || true
        write_trend
    fi
    if print_summary "$1" "$3" | harmless | wrapped >"$work/summary.md"; then
        cat "$work/summary.md" || true
    else
        print_summary "$1" "$3" | harmless || true
    fi
    if [ -n "$summary" ] && ! put "$work/summary.md" "$summary" 2>"$work/log"; then
        say "$summary: the summary cannot be written: $(tail -n 1 "$work/log")"
        [ $code = 1 ] || code=2
    fi
    # For later reference; the history does not need it.
    if [ -f "$history/$night/run.jsonl" ]; then
        put "$work/summary.md" "$history/$night/summary.md" 2>/dev/null || true
    fi
    leave "$code"
}

# --- the night ---------------------------------------------------------------------------------------

run='' old_run='' night='' old_engine='' gate_again='' first=no is_same_program=no measuring_since=0

# Measures, and finds the one new folder. The lock excludes other nights.
measure() {
    local before new code=0
    before=$(runs)
    measuring_since=$SECONDS
    if [ $paired = yes ]; then
        set -- ab --sweep "$sweep" --worker-a "$(old_program)" --worker-b "$program"
        [ -z "$tolerance" ] || set -- "$@" --same-within "$tolerance"
    elif [ $requests = yes ]; then
        set -- requests
    else
        set -- sweep "$sweep"
    fi
    # Of pairs a third is left for the confirmation of a regression, and what cells that are decided do not use.
    if [ $paired = yes ]; then
        set -- "$@" --budget "$(((2 * budget_s + 2) / 3))s"
    elif [ -n "$budget" ]; then
        set -- "$@" --budget "${budget_s}s"
    fi
    watched "$work/table" "$program" "$@" --out "$out" --name nightly ${flags[@]+"${flags[@]}"} || code=$?
    # Nothing is judged yet, so the night ends here.
    [ $interrupted = no ] || code=130
    new=$(runs | grep -vxF -e "$before" || true)
    case $new in
        *$'\n'*) finish error 2 "$out: several runs named nightly were made at the same time; the run of this night cannot be identified" ;;
        ?*)
            run=$out/$new night=$new
            [ $paired = no ] || old_run=$run/a run=$run/b
            ;;
    esac
    case $code in
        0 | 1) [ -n "$run" ] || finish error 2 "the measurement wrote no run into $out: $(last_words)" ;;
        130) finish interrupted 130 "The night was interrupted during the measurement; nothing was judged." ;;
        *) finish error 2 "the measurement ended with exit code $code: $(last_words)" ;;
    esac
    night=$(name_of "$run")
    {
        failed_cells "$run"
        [ $paired = no ] || failed_cells "$old_run" "the promoted program, "
    } >"$work/failed"
    "$program" report "$run" -o jsonl | grep -qE '"outcome":"measured"|"n_whole":[1-9]' ||
        finish error 2 "no cell could be measured: $(sed -n '1s/^- //p' "$work/failed")"
}

# Judges the night; returns the gate's exit code.
judge() {
    local against=$baseline rerun left third code=0
    [ $paired = no ] || against=$old_run
    set -- "$program" gate "$run" --baseline "$against" --history "$history"
    [ -z "$metric" ] || set -- "$@" --metric "$metric"
    [ -z "$tolerance" ] || set -- "$@" --tolerance "$tolerance"
    [ -z "$night_sd" ] || set -- "$@" --night-sd "$night_sd"
    gate_again=$(command_line "$@")
    if [ $promote = no ]; then
        set -- "$@" --rerun --keep ${engine[@]+"${engine[@]}"}
        if [ $paired = yes ]; then
            # Loading and the first pairs may have used more than the measurement's two thirds.
            left=$((measuring_since + budget_s - SECONDS))
            third=$(((budget_s + 2) / 3))
            set -- "$@" --budget "$((left > third ? left : third))s"
        fi
    fi
    watched "$work/gate.md" "$@" -o md || code=$?
    rerun=$(sed -n 's/^- \*\*rerun\*\*: //p' "$work/gate.md")
    [ $paired = no ] || rerun=${rerun%-b}
    [ -z "$rerun" ] || gate_again="$gate_again --confirm $(printf %q "$out/$rerun")"
    return $code
}

# Keeps the program in folder $1, with its plug-ins, which it looks for beside itself.
keep_program() {
    local file
    put "$program" "$1/ggufbench" || return 1
    for file in "$(dirname "$program")"/lib*ggml* "$(dirname "$program")"/lib*llama*; do
        [ ! -f "$file" ] || cp -p "$file" "$1" || return 1
    done
}

# Makes the night the baseline. The program is kept first, because a pinned night must have one.
promote() {
    local to=$history/$night code=0
    [ "$(cksum <"$program")" = "$program_sum" ] ||
        finish error 2 "$program changed during the night; the measured version is not known"
    { keep_program "$to" && "$program" gate "$run" --promote --history "$history" >/dev/null; } 2>"$work/log" || code=$?
    if [ $code != 0 ]; then
        [ -f "$to/run.jsonl" ] || rm -rf "$to"
        finish error 2 "tonight cannot be made the baseline: $(last_words)"
    fi
    prune
}

# A baseline must have all its cells, because a missing cell would never be judged again.
promote_whole() { # verdict, reason
    ! grep -qv ': skipped' "$work/failed" ||
        finish inconclusive 3 "Tonight cannot be the baseline: not every cell was measured as planned."
    promote
    finish "$1" 0 "$2"
}

conclude() {
    local undecided missing=''
    case $1 in 0 | 1 | 3) prune ;; esac
    case $1 in
        0)
            [ ! -s "$work/failed" ] ||
                finish inconclusive 3 "Every measured cell passed, but not all cells were measured as planned."
            ! is_in_doubt ||
                finish inconclusive 3 "No cell is slower than the last nights, but most of these were inconclusive, so they do not support a pass."
            finish pass 0 "No cell is slower than tolerated."
            ;;
        1)
            # Chance changes no output, and both sides may share a fault: the same file is no excuse.
            ! has_wrong_output || finish regression 1 "$(reason_of_wrong_output)"
            [ $is_same_program = no ] ||
                finish inconclusive 3 "Both programs are the same file, and still one is slower, tonight and again in a rerun: \
$(cells_that regression). The cause is not the program."
            finish regression 1 "Slower than tolerated, tonight and again in a rerun: $(cells_that regression)."
            ;;
        3)
            undecided=$(cells_that inconclusive)
            ! grep -q '^not measured tonight' "$work/gate.md" || missing=" Cells of the baseline were not measured."
            finish inconclusive 3 "Neither a pass nor a regression is shown.$missing${undecided:+ Not decided: $undecided.}"
            ;;
        130) finish interrupted 130 "The night was interrupted during the judgement." ;;
        *)
            # A full disk may have left an empty folder of the copy.
            rmdir "$history/$night" 2>/dev/null || true
            finish error 2 "the night cannot be judged: $(last_words)"
            ;;
    esac
}

program_sum=$(cksum <"$program")
[ -n "$(nights)" ] || [ -n "$(pinned)" ] || case $baseline in
    pinned | last:*) first=yes paired=no ;;
esac
# What is made the baseline needs no other program.
[ $paired = no ] || [ $promote = no ] || [ -x "$(old_program)" ] || paired=no
if [ $paired = yes ]; then
    "$program" ab --help >/dev/null 2>&1 ||
        finish error 2 "$program: has no verb ab, which measures two programs in turns; build a newer version, or say --nights"
    [ -x "$(old_program)" ] ||
        finish error 2 "$history: no promoted night with its program to measure in turns; --promote keeps one, --nights needs none"
    if is_promoted_program; then
        is_same_program=yes
        note "tonight's program is the promoted one, byte for byte: this night checks the machine and the measurement"
    fi
fi
check_room
note_leftovers
case $baseline in
    pinned) before=$history/$(pinned) ;;
    last:*) before=$history/$(good_nights "${baseline#last:}" | tail -n 1) ;;
    *) before=$baseline ;;
esac
[ $paired = no ] || before=$history/$(pinned)
[ $first = yes ] || old_engine=$(fact "$before" engine)
measure
if [ $first = yes ]; then
    promote_whole "pass (first night)" "This is the first night, so there is no earlier night for a comparison. It is now the baseline."
fi
judged=0
judge || judged=$?
if [ $promote = yes ] && [ $judged != 130 ]; then
    was=$(sed -n 's/^- \*\*verdict\*\*: //p' "$work/gate.md")
    [ -n "$was" ] || was="not comparable ($(last_words))"
    promote_whole promoted "Tonight is now the baseline, as requested. Compared with the previous baseline: $was."
fi
conclude $judged
