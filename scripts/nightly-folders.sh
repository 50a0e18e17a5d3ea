# The folders of the runs ($out) and of earlier nights ($history), sourced by nightly.sh.
# shellcheck shell=bash

# Seconds since 1970 at which the run of record $1 started; nothing if the record does not say. Names have a local time,
# which cannot order nights of two time zones, nor nights around a change of the clock.
started() {
    head -n 1 "$1" 2>/dev/null | awk '
        match($0, /"started_at":"[0-9][^"]*"/) {
            at = substr($0, RSTART + 14, RLENGTH - 15)
            year = substr(at, 1, 4) + 0; month = substr(at, 6, 2) + 0; day = substr(at, 9, 2) + 0
            s = substr(at, 12, 2) * 3600 + substr(at, 15, 2) * 60 + substr(at, 18, 2)
            zone = substr(at, 20)
            sub(/^[.][0-9]*/, "", zone)
            ahead = substr(zone, 2, 2) * 3600 + substr(zone, 5, 2) * 60
            # Days from the civil date, with years that begin in March.
            if (month <= 2) { year--; month += 12 }
            days = 365 * year + int(year / 4) - int(year / 100) + int(year / 400)
            days += int((153 * (month - 3) + 2) / 5) + day - 1 - 719468
            printf "%.0f\n", days * 86400 + s + (zone ~ /^-/ ? ahead : -ahead)
        }' || true
}
# Names of the nights, in the order in which they started.
nights() {
    local record
    for record in "$history"/*/run.jsonl; do
        [ ! -f "$record" ] || echo "$(started "$record") $(basename "$(dirname "$record")")"
    done | sed -n '/^[0-9]/p' | sort -k1,1n -k2 | cut -d ' ' -f 2
}
runs() {
    local folder
    for folder in "$out"/*-nightly "$out"/*-nightly-[0-9]*; do
        [ ! -d "$folder" ] || basename "$folder"
    done | sort
}
# The record of run $1; side b of a pair.
record_of() {
    local record=$out/$1/run.jsonl
    [ -f "$record" ] || record=$out/$1/b/run.jsonl
    printf '%s' "$record"
}
# Whether run $1 started before the night of record $2, or after it ($3: -lt or -gt). For a run without a record, the age of
# its folder decides.
is_run() { # run, record of the night, -lt or -gt
    local at than
    at=$(started "$(record_of "$1")")
    than=$(started "$2")
    if [ -n "$at" ] && [ -n "$than" ]; then
        [ "$at" "$3" "$than" ]
    elif [ "$3" = -lt ]; then
        [ "$out/$1" -ot "$2" ]
    else
        [ "$out/$1" -nt "$2" ]
    fi
}
pinned() { cat "$history/pinned" 2>/dev/null || true; }
# The newest $1 nights since the promoted one that count for the baseline, without tonight.
good_nights() {
    local name since count=no
    since=$(pinned)
    [ -n "$since" ] || count=yes
    for name in $(nights); do
        [ "$name" != "$since" ] || count=yes
        [ $count = no ] || [ "$name" = "$night" ] || [ -e "$history/$name/regression" ] || echo "$name"
    done | tail -n "$1"
}
# Whether most nights of the baseline were inconclusive: a doubtful slow-down must not become the norm.
is_in_doubt() {
    local name n=0 inconclusive=0
    case $baseline in last:*) [ $paired = no ] || return 1 ;; *) return 1 ;; esac
    for name in $(good_nights "${baseline#last:}"); do
        n=$((n + 1))
        ! head -n 1 "$history/$name/summary.md" 2>/dev/null | grep -q '^# Nightly: inconclusive' ||
            inconclusive=$((inconclusive + 1))
    done
    [ $((2 * inconclusive)) -gt $n ]
}

# The program of the promoted night, if it was kept.
old_program() { [ -z "$(pinned)" ] || printf '%s' "$history/$(pinned)/ggufbench"; }

# Whether tonight's program is the promoted one, with its plug-ins.
is_promoted_program() {
    local old file
    old=$(dirname "$(old_program)")
    cmp -s "$program" "$(old_program)" || return 1
    for file in "$(dirname "$program")"/lib*ggml* "$(dirname "$program")"/lib*llama* "$old"/lib*; do
        [ ! -f "$file" ] || cmp -s "$(dirname "$program")/${file##*/}" "$old/${file##*/}" || return 1
    done
}

# The name of a record, and lines of its `report`.
name_of() { "$program" report "$1" -o jsonl | sed -n '1s/^{"run":"\([^"]*\)".*/\1/p'; }
fact() { "$program" report "$1" -o md 2>/dev/null | sed -n "s/^- \*\*$2\*\*: //p" || true; }

kib_of() { echo $((($(wc -c <"$1") + 1023) / 1024)); }
# Ends the night before it begins if there is no room for its record, copy and rerun.
check_room() {
    local newest need=32768 folder free
    newest=$(nights | tail -n 1)
    [ -z "$newest" ] || need=$((8192 + 3 * $(kib_of "$history/$newest/run.jsonl")))
    [ $paired = no ] || need=$((2 * need))
    [ $promote = no ] && [ $first = no ] || need=$((need + $(kib_of "$program")))
    for folder in "$out" "$history"; do
        free=$(df -Pk "$folder" | awk 'NR > 1 { print $4; exit }')
        [ "${free:-0}" -ge $need ] ||
            finish error 2 "the disk is full: $folder has $((${free:-0} / 1024)) MiB left, a night needs $((need / 1024)); \
delete files that are not needed, or keep fewer nights (--keep-nights)"
    done
}

# Runs since the last judged night that were not judged because of a crash, a full disk or an interruption.
note_leftovers() {
    local newest name shown=''
    newest=$(nights | tail -n 1)
    for name in $(runs | tail -n 9); do
        [ -z "$newest" ] || is_run "$name" "$history/$newest/run.jsonl" -gt || continue
        if tail -n 1 "$(record_of "$name")" 2>/dev/null | grep -q '"kind":"end".*"interrupted":false'; then
            shown="$shown, $name (whole)"
        else
            shown="$shown, $name (unfinished)"
        fi
    done
    [ -z "$cut_off" ] || note "an earlier nightly, $cut_off, did not end in order; its lock was taken over"
    [ -z "$shown" ] || note "measured earlier and never judged, left alone: ${shown#, }"
}

# Deletes nights beyond the number to keep. Folders without a date in their name are not deleted.
prune() {
    local dated='^[0-9]{8}-[0-9]{6}-' keep oldest old=yes name
    oldest=$(nights | tail -n "$keep_history" | sed -n 1p)
    keep=$(pinned)
    for name in $(nights); do
        [ "$name" != "$oldest" ] || old=no
        [[ $name =~ $dated ]] || continue
        # Only the promoted night's program can be used again.
        [ "$name" = "$keep" ] || rm -f "$history/$name/ggufbench" "$history/$name"/lib*
        if [ $old = yes ] && [ "$name" != "$keep" ]; then rm -rf "${history:?}/$name"; fi
    done
    oldest=$(nights | tail -n "$keep_nights" | sed -n 1p)
    [ -n "$oldest" ] || return 0
    for name in "$out"/*-nightly*/; do
        name=$(basename "$name")
        [[ $name =~ ${dated}nightly(-rerun)?(-[0-9]+)?$ ]] || continue
        if is_run "$name" "$history/$oldest/run.jsonl" -lt; then rm -rf "${out:?}/$name"; fi
    done
}
