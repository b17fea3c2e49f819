# shellcheck shell=bash
# How the demos tell their story: its parts, and the list of what was checked. To be sourced after lib.sh.

# begin_story: notes when it began.
begin_story() {
    STARTED=$(microseconds)
}

# say [TEXT]: a line of the story, without blanks at its end.
say() {
    local text=${1:-}
    text=${text%"${text##*[! ]}"}
    printf '%s\n' "${text:+   $text}"
}

# part NUMBER TITLE: begins a part of the story.
part() {
    printf '\n%s %s  %s%s%s\n\n' "${INK[cyan]}${INK[bold]}" "$1" "${INK[off]}${INK[bold]}" "$2" "${INK[off]}"
}

# check TEXT COMMAND...: notes whether something happened, for the list at the end.
CHECKS=()
FAILED=0
check() {
    if "${@:2}"; then
        CHECKS+=("${INK[green]}✓${INK[off]} $1")
    else
        CHECKS+=("${INK[red]}✗ $1${INK[off]}")
        FAILED=$((FAILED + 1))
    fi
}

# plural NUMBER NOUN: "1 hop", "2 hops".
plural() {
    if (($1 == 1)); then printf '%d %s' "$1" "$2"; else printf '%d %ss' "$1" "$2"; fi
}

# microseconds: the time since some moment (whole seconds before bash 5).
microseconds() {
    local now=${EPOCHREALTIME:-$SECONDS.000000}
    printf '%s\n' "${now/./}"
}

# summary: the list of what was checked. Exits with 1 if any of it did not happen.
summary() {
    local line tenths=$((($(microseconds) - STARTED) / 100000))
    printf '\n %s\n\n' "${INK[bold]}What was checked${INK[off]}"
    for line in "${CHECKS[@]}"; do
        say "$line"
    done
    say
    if ((FAILED)); then
        say "${INK[red]}${INK[bold]}$FAILED of ${#CHECKS[@]} did not happen.${INK[off]}"
        exit 1
    fi
    say "${INK[green]}${INK[bold]}All ${#CHECKS[@]} happened${INK[off]}, in $((tenths / 10)).$((tenths % 10)) s.${KEEP:+ The logs are in $KEEP.}"
}
