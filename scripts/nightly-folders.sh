# The folders of the runs ($out) and of earlier nights ($history), sourced by nightly.sh.
# shellcheck shell=bash

# Names in order, which is that of the nights.
nights() {
    local record
    for record in "$history"/*/run.jsonl; do
        [ ! -f "$record" ] || basename "$(dirname "$record")"
    done | sort
}
runs() {
    local folder
    for folder in "$out"/*-nightly "$out"/*-nightly-[0-9]*; do
        [ ! -d "$folder" ] || basename "$folder"
    done | sort
}
pinned() { cat "$history/pinned" 2>/dev/null || true; }
# The newest $1 nights that count since the promoted one, without tonight.
good_nights() {
    local name since
    since=$(pinned)
    for name in $(nights); do
        [[ $name < $since ]] || [ "$name" = "$night" ] || [ -e "$history/$name/regression" ] || echo "$name"
    done | tail -n "$1"
}
# Whether most of the nights that a pass rests on were inconclusive: what was in doubt must not become normal.
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

# The program of the promoted night, when it was kept.
old_program() { [ -z "$(pinned)" ] || printf '%s' "$history/$(pinned)/ggufbench"; }

# Of a record: its name, and lines of what `report` says of it.
name_of() { "$program" report "$1" -o jsonl | sed -n '1s/^{"run":"\([^"]*\)".*/\1/p'; }
fact() { "$program" report "$1" -o md 2>/dev/null | sed -n "s/^- \*\*$2\*\*: //p" || true; }

kib_of() { echo $((($(wc -c <"$1") + 1023) / 1024)); }
# Fails the night before it begins when there is no room for its record, copy and rerun.
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
delete what is not needed there, or keep fewer nights (--keep-nights)"
    done
}

# Runs since the last judged night: a crash, a full disk or an interruption kept them from being judged.
note_leftovers() {
    local newest name record shown=''
    newest=$(nights | tail -n 1)
    for name in $(runs | tail -n 3); do
        [[ $name > $newest ]] || continue
        record=$out/$name/run.jsonl
        [ -f "$record" ] || record=$out/$name/b/run.jsonl
        if tail -n 1 "$record" 2>/dev/null | grep -q '"kind":"end".*"interrupted":false'; then
            shown="$shown, $name (whole)"
        else
            shown="$shown, $name (unfinished)"
        fi
    done
    [ -z "$cut_off" ] || note "an earlier nightly, $cut_off, was cut off; its lock was taken over"
    [ -z "$shown" ] || note "measured earlier and never judged, left alone: ${shown#, }"
}

# Deletes nights beyond the number to keep. What has no date for a name is not ours to delete.
prune() {
    local dated='^[0-9]{8}-[0-9]{6}-' keep oldest name
    oldest=$(nights | tail -n "$keep_nights" | sed -n 1p)
    # A night of --paired is side b of its run.
    oldest=${oldest%-b}
    keep=$(pinned)
    for name in $(nights | grep -E "$dated" || true); do
        # Only the promoted night's program is ever used again.
        [ "$name" = "$keep" ] || rm -f "$history/$name/ggufbench" "$history/$name"/lib*
        if [[ $name < $oldest ]] && [ "$name" != "$keep" ]; then rm -rf "${history:?}/$name"; fi
    done
    for name in "$out"/*-nightly*/; do
        name=$(basename "$name")
        if [[ $name =~ ${dated}nightly(-rerun)?(-[0-9]+)?$ && $name < $oldest ]]; then rm -rf "${out:?}/$name"; fi
    done
}
