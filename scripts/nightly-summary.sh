# The summary of a night, sourced by nightly.sh: Markdown that is also readable as a plain mail.
# shellcheck shell=bash

notes=()
note() { notes+=("$*"); }

# Cells of the gate's table with verdict $1: `batch 8 +10.7%, batch 32 +12.0%`.
cells_that() {
    awk -F ' *[|] *' -v verdict="$1" '
        /^\|/ && !heads { heads = split($0, head); next }
        /^\|/ && index($(NF - 1), verdict) == 1 {
            if (++n > 6) next
            cell = ""
            for (i = 2; i < NF && head[i] !~ /^(time|energy|change)$/; i++)
                if (head[i] !~ /^(pairs|tonight)$| before$/) cell = cell (head[i] ~ /^(model|job)$/ ? "" : head[i] " ") $i " "
            found = found (n > 1 ? ", " : "") cell $i
        }
        END { print found (n > 6 ? " and " n - 6 " more" : "") }' "$work/gate.md"
}

# What the gate found of outputs that differ, by themselves or from the other side's.
has_wrong_output() { grep -q '^WRONG: ' "$work/gate.md"; }
reason_of_wrong_output() {
    local slower
    printf 'An output differs by more than rounding explains: %s.' \
        "$(sed -n 's/^WRONG: //p' "$work/gate.md" | sed -nE -e '1s/[.] (This is|The sides have) .*//' -e 1p)"
    slower=$(cells_that regression)
    [ -z "$slower" ] || printf ' Also slower than tolerated, tonight and again in a rerun: %s.' "$slower"
}

# The failures of run $1: one line for each cell and reason, each beginning with $2.
failed_cells() {
    sed -nE 's/^\{"kind":"cell","case_id":"([^"]*)".*"outcome":\{"status":"(failed|crashed|timed_out|skipped)"(,[^}]*)?\}.*/\1: \2\3/p' \
        "$1/run.jsonl" |
        sed -E -e 's/,"(reason|how)":"(.*)"$/: \2/' -e 's/,"after_ns":[0-9]+$//' -e 's/timed_out$/timed out/' \
            -e 's/,"needs_bytes":([0-9]+),"has_bytes":([0-9]+)/: needs \1 bytes, has \2/' |
        sort | uniq -c |
        awk -v start="${2:-}" '{ n = $1; sub(/^ *[0-9]+ /, ""); print "- " start $0 ($0 ~ /: skipped/ ? "" : " (in " n (n == 1 ? " process)" : " processes)")) }'
    failed_requests "$1"
}
# Jobs of requests of run $1 that have answers which are not whole, a line for each.
failed_requests() {
    "$program" report "$1" -o jsonl 2>/dev/null | awk '
        function value(key) {
            if (!match($0, "\"" key "\":(\"[^\"]*\"|[0-9]+)")) return ""
            key = substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3)
            gsub(/"/, "", key)
            return key
        }
        value("job") != "" && value("n_whole") != value("n_sent") {
            why = match($0, /"failed_such_as":{"[^"]*":"[^"]*"/) ? substr($0, RSTART, RLENGTH - 1) : ""
            sub(/.*"/, "", why)
            print "- " value("job") " at " value("target") ": " value("n_sent") - value("n_whole") " of " value("n_sent") \
                " requests had no whole answer" (why == "" ? "" : ", such as: " why)
        }' || true
}

# The trend without its table: its nights, the newest changes of level, what changed last, and its files.
trend_in_short() {
    sed -n 's/^- [*][*]nights[*][*]: /- **nights**: /p' "$work/trend.md"
    if grep -q '^levels: ' "$work/trend.md"; then
        sed -n 's/^levels: /- /p' "$work/trend.md"
    elif ! grep -q '^level changed: ' "$work/trend.md"; then
        echo "- no change of level was found in the cells that have enough nights"
    fi
    grep '^level changed: ' "$work/trend.md" | sed -n '1,3s/^/- /p'
    grep '^build or machine: ' "$work/trend.md" | sed -n '1,2s/^/- /p'
    grep '^left out: ' "$work/trend.md" | sed -n '1,3s/^/- /p'
    sed -nE 's/^(page|picture): /- **\1**: /p' "$work/trend.md"
}

# A command for people to copy.
command_line() {
    printf '   '
    printf ' %q' "$@"
    printf '\n'
}
again() {
    [ -z "${GGUFBENCH:-}" ] || set -- GGUFBENCH="$GGUFBENCH" "$@"
    command_line "$@"
}

# What to do next, by the verdict $1.
advice() {
    case $1 in
        pass) echo "Nothing." ;;
        "pass (first night)") echo "Nothing. Nights are judged from the second on." ;;
        promoted) echo "Nothing. Earlier nights are no longer a baseline." ;;
        regression) advice_on_regression ;;
        inconclusive) advice_on_inconclusive ;;
        interrupted) echo "Run it again. The unfinished run is left where it is, and is not judged." ;;
        *) echo "Correct the cause. Nothing was judged, and the history did not change." ;;
    esac
}
advice_on_wrong_output() {
    local of_tonight=no of_baseline=no
    ! grep -q '^WRONG: tonight: ' "$work/gate.md" || of_tonight=yes
    ! grep -q '^WRONG: baseline: ' "$work/gate.md" || of_baseline=yes
    case $of_tonight,$of_baseline in
        yes,yes) echo "- Both sides compute wrong outputs, each by itself, so the fault is not new: look at what they share, such as the backend, its driver and the hardware." ;;
        yes,no) echo "- Tonight's program computes wrong outputs by itself, and the baseline does not: look at the changes between the programs." ;;
        no,yes) echo "- Only the baseline computes wrong outputs by itself. If a change since then corrects this, make tonight the baseline." ;;
        *)
            if [ $is_same_program = yes ]; then
                echo "- The same file computed two outputs: look at what it loads (engine, driver, model files), and at the hardware."
            else
                echo "- Each side agrees with itself, but not with the other: look at the changes of programs and model files, and find out which is right."
            fi
            ;;
    esac
    echo "- An output is computed without chance, so nothing was measured again for it. The table of outputs has the figures."
    [ -z "$(cells_that regression)" ] || echo "- Correct the output first: the time of wrong outputs says little."
    if [ $of_tonight = yes ]; then
        echo "- Do not promote tonight: nothing that is measured with the fault can be relied on."
    else
        printf '\n%s\n\n' "If tonight's output is the right one, make tonight the baseline (this measures once more):"
        again "$0" --promote ${typed[@]+"${typed[@]}"}
    fi
}
advice_on_regression() {
    if has_wrong_output; then
        advice_on_wrong_output
        return
    fi
    if [ $paired = yes ]; then
        echo "Both programs were measured in turns, so the machine is not the cause: look at the changes between the programs."
    elif [ "$old_engine" = "$(fact "$run" engine)" ]; then
        echo "Look at the machine first (\`ggufbench doctor\`): program and engine are those of the baseline."
    else
        echo "Look at the changes between the two programs above, and at the differences in the head of the table."
    fi
    if [ $paired = no ] && [ $requests = no ] && [ -x "$(old_program)" ]; then
        printf '\n%s\n\n' "To exclude the machine, measure the promoted program and tonight's in turns:"
        again "$0" ${in_turns[@]+"${in_turns[@]}"}
    fi
    printf '\n%s\n\n' "If the slow-down is accepted, make tonight the baseline (this measures once more):"
    again "$0" --promote ${typed[@]+"${typed[@]}"}
}
advice_on_inconclusive() {
    [ ! -s "$work/failed" ] || echo "- Correct what failed."
    [ $is_same_program = no ] || [ -z "$(cells_that regression)" ] ||
        echo "- Look at the machine: \`ggufbench doctor\` names what disturbs it. Both sides ran the same file."
    if [ $paired = yes ]; then
        ! grep -q 'would need' "$work/gate.md" ||
            echo "- If the table says that pairs are missing: give the night more time (--budget), or remove disturbances (\`ggufbench doctor\` names them)."
    else
        ! grep -q 'would need' "$work/gate.md" || echo "- If the table says that processes are missing: remove disturbances (\`ggufbench doctor\` names them), or raise --replicates (for the baseline too: promote)."
    fi
    ! grep -q 'undecided again' "$work/gate.md" ||
        echo "- A slow-down that is undecided again may be real: the confirmation ended before it showed one or excluded one."
    ! grep -q 'not seen again' "$work/gate.md" || echo "- A slow-down that was not seen again was probably caused by the machine: look for other programs that ran."
    ! grep -q '(disturbed: ' "$work/gate.md" || echo "- If the table says disturbed: measure again at a quieter time$([ $requests = yes ] || echo ", or without --nights")."
    ! grep -q '(nights may differ as much)' "$work/gate.md" ||
        echo "- If nights may differ as much: $([ $requests = yes ] || echo "measure without --nights. ")From seven nights of history on, the gate knows the spread between nights; until then --night-sd states it."
    ! is_in_doubt ||
        echo "- If the nights before were in doubt: $([ $requests = yes ] || echo "a night without --nights shows whether the program is the cause. ")If it is not the program: promote."
    ! grep -q '^not measured tonight' "$work/gate.md" || echo "- If cells were removed from the sweep on purpose: promote."
    echo "- One such night is not an alarm. Several in a row are, because nothing is judged then."
}

# Lines of text that stay text in Markdown: no markup, no HTML, no link.
as_text() {
    local mark=$'\x01'
    local within="s/([[:alnum:]])_([[:alnum:]])/\\1$mark\\2/g"
    sed -E -e 's/[][\\`*~]/\\&/g' -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/:\/\//\\&/g' \
        -e "$within" -e "$within" -e 's/_/\\&/g' -e "s/$mark/_/g"
}

print_summary() { # verdict, reason
    local line reason=$2
    # Only errors repeat what other programs say.
    [ "$1" != error ] || reason=$(as_text <<<"$2")
    printf '# Nightly: %s\n\n%s\n\n' "$1" "$reason"
    [ -z "$run" ] || printf -- '- **night**: %s\n- **machine**: %s\n- **program**: %s\n' \
        "$night" "$(fact "$run" machine)" "$(fact "$run" engine)"
    [ -z "$old_engine" ] || printf -- '- **program of the baseline**: %s\n' "$old_engine"
    for line in ${notes[@]+"${notes[@]}"}; do printf -- '- **note**: %s\n' "$line"; done
    if [ -s "$work/gate.md" ]; then
        printf '\n## Cells\n'
        # The gate's advice is for a run by hand. The advice of this script is below.
        sed -e 1d -e 's/^# /## /' "$work/gate.md" | grep -v '^next: '
    fi
    if [ -s "$work/failed" ]; then
        printf '\n## What could not be measured as planned\n\n'
        as_text <"$work/failed"
    fi
    if [ -s "$work/trend.md" ]; then
        printf '\n## Trend\n\n'
        trend_in_short
    fi
    printf '\n## What to do\n\n'
    advice "$1"
    printf '\n## To repeat\n\n'
    again "$0" ${typed[@]+"${typed[@]}"}
    if [ -n "$run" ]; then
        command_line "$program" report "$run"
        [ -z "$gate_again" ] || [ "$1" = promoted ] || printf '%s\n' "$gate_again"
    fi
}

# Breaks lines at 80 columns, except tables and commands.
wrapped() {
    awk '/^(\||    |#)/ { print; empty = 0; next }
    NF || !empty {
        indent = /^- / ? "  " : ""
        line = ""
        for (i = 1; i <= NF; i++) {
            if (line != "" && length(line) + 1 + length($i) > 80) { print line; line = indent $i }
            else line = line (line == "" ? "" : " ") $i
        }
        print line
    }
    { empty = !NF }'
}
