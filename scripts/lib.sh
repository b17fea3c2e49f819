# shellcheck shell=bash
# What the scripts share, and what a demo of your own needs: start nodes, send them commands, await events, clean up.
#
#   . scripts/lib.sh
#   build_node                                            # P2P_CHAT is the program from here on
#   net_begin                                             # a folder for logs; everything is cleaned up at exit
#   node_start alice                                      # returns when alice is ready
#   node_start bob --connect "$(node_addr alice)"
#   node_call bob '{"cmd":"send","text":"hi","min_links":1}'
#   node_await alice '.event == "message" and .text == "hi"'
#   net_close                                             # the nodes end in good order; net_begin's trap needs no call
#
# Nothing here sleeps: a wait is woken by the line that it waits for, and its deadline only serves to fail. (Only for a
# node's death does tail look, ten times a second.)
# Needs bash 4.4, jq 1.6, and GNU coreutils and sed. To be sourced under `set -euo pipefail`.
#
# The environment: P2P_CHAT (the program to run: then nothing is built), P2P_PROFILE (`release`, or `dev`),
# P2P_DEADLINE (seconds that a wait may take: 20), NO_COLOR.

# The repository. Scripts may be called from anywhere.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# A shell that was started with an empty environment finds its home, and cargo where rustup puts it.
[[ -n ${HOME:-} ]] || export HOME=~
command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

# Texts are measured in characters, whatever the locale of the caller is.
for LC_ALL in C.UTF-8 en_US.UTF-8; do
    UTF8=→
    ((${#UTF8} == 1)) && break
done 2>/dev/null
export LC_ALL

# ---------------------------------------------------------------------------------------------------------- saying

# Colours, empty if stdout is no terminal or NO_COLOR is set: "${INK[bold]}word${INK[off]}".
declare -A INK=([off]='' [bold]='' [dim]='' [red]='' [green]='' [yellow]='' [blue]='' [cyan]='')
TTY=''
if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then
    TTY=1
    if [[ -z ${NO_COLOR:-} ]]; then
        INK=([off]=$'\e[0m' [bold]=$'\e[1m' [dim]=$'\e[2m' [red]=$'\e[31m' [green]=$'\e[32m' [yellow]=$'\e[33m'
            [blue]=$'\e[34m' [cyan]=$'\e[36m')
    fi
fi

# note TEXT...: a remark for people, on stderr. Status 0.
note() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# die TEXT [LINE]...: says what is wrong on stderr, more lines below it, and exits with 1.
die() {
    printf '%s: %s%s%s\n' "${0##*/}" "${INK[red]}" "$1" "${INK[off]}" >&2
    (($# == 1)) || printf '%s\n' "${@:2}" >&2
    exit 1
}

# usage_error TEXT: says what is wrong with the arguments and exits with 2.
usage_error() {
    printf '%s: %s; --help tells more\n' "${0##*/}" "$1" >&2
    exit 2
}

# help_of FILE: prints the comment that a script opens with. Status 0.
help_of() {
    local line
    while IFS= read -r line; do
        case $line in
        '#!'*) ;;
        '#'*) line=${line#'#'} && printf '%s\n' "${line# }" ;;
        *) break ;;
        esac
    done <"$1"
}

# pad TEXT WIDTH: TEXT filled up with blanks to WIDTH characters. Status 0.
pad() {
    local fill=$(($2 - ${#1}))
    printf '%s%*s' "$1" "$((fill > 0 ? fill : 0))" ''
}

# steps TITLE:COMMAND...: runs commands (of plain words) one after the other, each under its title, whatever comes of those
# before, and lists at the end what came of each. Status 1 if any failed.
steps() {
    local step status failed=0 list=''
    for step in "$@"; do
        local -a command
        read -ra command <<<"${step#*:}"
        printf '\n%s=== %s: %s%s\n' "${INK[bold]}" "${step%%:*}" "${step#*:}" "${INK[off]}"
        status=0
        "${command[@]}" || status=$?
        if ((status)); then
            failed=1
            list+="${INK[red]}FAIL${INK[off]}  ${step%%:*} (status $status)"$'\n'
        else
            list+="${INK[green]}ok${INK[off]}    ${step%%:*}"$'\n'
        fi
    done
    printf '\n%s=== Result%s\n%s' "${INK[bold]}" "${INK[off]}" "$list"
    return "$failed"
}

# -------------------------------------------------------------------------------------------------------- building

# need WHAT...: has `scripts/setup` get what is missing for WHAT. Ends the script if it can't.
need() {
    "$ROOT/scripts/setup" "$@" || exit 1
}

# build_node: builds the program unless P2P_CHAT names one, and sets P2P_CHAT. Says what it does where that takes time,
# as one line that is rewritten on a terminal. Ends the script if the build fails.
build_node() {
    local -a profile=(--profile "${P2P_PROFILE:-release}")
    local errors kind value done=0 total=0
    if [[ -n ${P2P_CHAT:-} ]]; then
        command -v "$P2P_CHAT" >/dev/null || die "P2P_CHAT=$P2P_CHAT is no program"
        return
    fi
    errors=$(mktemp)
    [[ -z $TTY ]] || printf 'building p2p-chat'
    while IFS=$'\t' read -r kind value; do
        case $kind in
        program) P2P_CHAT=$value ;;
        crate)
            ((done++ > 0)) || total=$(build_begins)
            # The count is cargo's, but for a crate that is built twice.
            ((done < total)) || { done=$total && value='and now the program'; }
            [[ -z $TTY ]] || printf '\r\e[Kbuilding: %d of %d crates, %s' "$done" "$total" "$value"
            ;;
        esac
    done < <(cd "$ROOT" && cargo build --locked --bin p2p-chat "${profile[@]}" \
        --message-format json-render-diagnostics 2>"$errors" </dev/null | jq -r --unbuffered "$BUILD_STEPS")
    [[ -z $TTY ]] || printf '\r\e[K'
    if [[ -z ${P2P_CHAT:-} ]]; then
        cat "$errors" >&2
        rm "$errors"
        die "the build failed"
    fi
    rm "$errors"
    export P2P_CHAT
}

# What cargo says of a build: a line for each crate that it has compiled, and one for the program.
BUILD_STEPS='
    select(.reason == "compiler-artifact")
    | (select(.executable == null and .fresh == false and .target.kind != ["custom-build"]) | "crate\t\(.target.name)"),
      (select(.executable != null and .target.name == "p2p-chat") | "program\t\(.executable)")'

# build_begins: the first crate is there, so it is a real build. Says so, and prints how many crates there are in all.
build_begins() {
    [[ -n $TTY ]] || note "building p2p-chat (${P2P_PROFILE:-release}), which takes a minute or two the first time"
    cd "$ROOT" && cargo tree --locked -e normal,build --prefix none --format '{p}' 2>/dev/null |
        sed 's/ (\*)$//' | sort -u | wc -l
}

# looks_like_line SETTINGS: whether the settings of --line are in their form; so that what is mistyped is told before anything
# is built. `check_line` knows the rest.
looks_like_line() {
    local part='((loss|burst|delay|reorder|duplicate)=[0-9.]+|jitter=[a-z]+(:[0-9.-]+)?)'
    [[ $1 =~ ^$part(,\ *$part)*$ ]] ||
        usage_error "--line takes loss=PERCENT, burst=DATAGRAMS, delay=MS, jitter=…, reorder=PERCENT and duplicate=PERCENT, separated by commas, not $1"
}

# check_line SETTINGS: ends the script with the program's own word if it does not take the settings. After build_node.
check_line() {
    local why
    why=$("$P2P_CHAT" --port 0 --line "$1" --version 2>&1 >/dev/null) && return
    why=${why%%$'\n'*}
    usage_error "--line $1: ${why##*: }"
}

# ----------------------------------------------------------------------------------------------------------- nodes

# By the node's name: the process, the descriptor that its stdin is written to, its TCP address and its node id.
declare -A NODE_PID=() NODE_IN=() NODE_ADDR=() NODE_ID=()
# The folder of the logs: NAME.jsonl is what a node said on stdout, NAME.err on stderr.
NET_DIR=''
NET_KEEP=''

# net_begin [DIR]: makes the folder for the logs, and sees to it that at the script's end, however it comes, no process
# of it is left. DIR is kept; without it, a temporary folder is removed again.
net_begin() {
    if (($#)); then
        mkdir -p "$1"
        NET_DIR=$(cd "$1" && pwd)
        NET_KEEP=1
    else
        NET_DIR=$(mktemp -d "${TMPDIR:-/tmp}/p2p-chat.XXXXXX")
    fi
    trap net_abort EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    # A write to a node that is gone fails, rather than ending the script.
    trap : PIPE
}

# net_abort: kills every background job of the script and removes the temporary folder. The trap calls it.
net_abort() {
    local status=$? pid
    trap - EXIT
    trap '' INT TERM HUP
    for pid in $(jobs -rp); do
        { kill -KILL "$pid" && wait "$pid"; } 2>/dev/null || :
    done
    [[ -n $NET_KEEP || -z $NET_DIR ]] || rm -rf "$NET_DIR"
    exit "$status"
}

# net_close: has every node that runs end in good order, and waits for that. Status 0 if every one of them ended with 0.
net_close() {
    local name status=0
    for name in "${!NODE_PID[@]}"; do
        node_leave "$name"
    done
    for name in "${!NODE_PID[@]}"; do
        node_close "$name" || status=$?
    done
    return "$status"
}

# node_start NAME [OPTION]...: starts a node with its name as user name, on a free port, and waits until it is ready.
# NAME is of letters, digits, `_` and `-`. Status 1, with the reason on stderr, if the node does not come up.
node_start() {
    local name=$1 fifo=$NET_DIR/$1.in both in out ready
    mkfifo "$fifo"
    # The first descriptor opens both ends, so that opening one after the other does not block; rid of it, a write fails
    # when the node is gone, and the node's stdin ends when ours is closed.
    exec {both}<>"$fifo"
    exec {out}<"$fifo"
    exec {in}>"$fifo" {both}>&-
    rm "$fifo"
    # Followed from now on, so it must be there.
    : >"$NET_DIR/$name.jsonl"
    (
        close_inputs
        exec {in}>&-
        exec "$P2P_CHAT" --username "$name" --port 0 "${@:2}" <&"$out" {out}<&- \
            >"$NET_DIR/$name.jsonl" 2>"$NET_DIR/$name.err"
    ) &
    NODE_PID[$name]=$!
    NODE_IN[$name]=$in
    exec {out}<&-
    ready=$(node_first "$name" "$P2P_DEADLINE" \
        'inputs | select(.event == "ready" or .event == "fatal") | "\(.tcp // "") \(.node // "")"') || ready=' '
    read -r "NODE_ADDR[$name]" "NODE_ID[$name]" <<<"$ready"
    if [[ $ready == ' ' ]]; then
        note "$name did not start:"
        tail -n 5 "$NET_DIR/$name.jsonl" "$NET_DIR/$name.err" | jq -Rr -L "$ROOT/scripts" 'include "net"; printable' >&2
        return 1
    fi
}

# close_inputs: closes our end of every node's stdin. For children, which would otherwise hold it open.
close_inputs() {
    local name fd
    for name in "${!NODE_IN[@]}"; do
        fd=${NODE_IN[$name]}
        exec {fd}>&-
        unset "NODE_IN[$name]"
    done
}

# node_addr NAME: prints its TCP address. node_id NAME: prints its node id. node_log NAME: prints the file of its events.
node_addr() { printf '%s\n' "${NODE_ADDR[$1]}"; }
node_id() { printf '%s\n' "${NODE_ID[$1]}"; }
node_log() { printf '%s\n' "$NET_DIR/$1.jsonl"; }

# node_tell NAME LINE: writes a line to the node's stdin and does not wait for its reply. Status 1 if it does not run.
node_tell() {
    if [[ -z ${NODE_IN[$1]:-} ]] || ! { printf '%s\n' "$2" >&"${NODE_IN[$1]}"; } 2>/dev/null; then
        note "$1 does not run"
        return 1
    fi
}

# node_call NAME COMMAND: sends a command (an object without `id`), waits for its reply and prints the `result`.
# Status 1, with the error on stderr, if it was refused or did not come.
node_call() {
    local id=sh-$BASHPID-$RANDOM$RANDOM status=0
    node_tell "$1" "{\"id\":\"$id\",${2#*\{}" || return 1
    node_first "$1" "$P2P_DEADLINE" --arg id "$id" --arg name "$1" "$(<"$ROOT/scripts/net.jq")"'
        inputs | select(.event == "reply" and .id == $id)
        | if .ok then .result
          else "\($name) refused \(.cmd): \(.error.message) (\(.error.code))" | printable + "\n" | halt_error(1) end' ||
        status=$?
    case $status in
    0) ;;
    1) return 1 ;;
    *) note "$1 gave no reply to $2" && return 1 ;;
    esac
}

# node_send NAME TEXT [ROOM]: has a node send a message, as soon as it has a link, and prints the message's id.
# Status 1 if it could not.
node_send() {
    local command
    command=$(jq -cn --arg text "$2" --arg room "${3:-}" \
        '{cmd: "send", $text, min_links: 1} + if $room == "" then {} else {$room} end')
    node_call "$1" "$command" | jq -r .message
}

# node_await NAME CONDITION [COUNT [SECONDS]]: waits until the node has said an event for which the jq expression CONDITION
# is true, or COUNT of them, and prints the last. Events of the past count. Status 1 if the time is over (P2P_DEADLINE) or
# the node ended.
node_await() {
    node_first "$1" "${4:-$P2P_DEADLINE}" --argjson count "${3:-1}" \
        "foreach (inputs | select([($2)?] | any)) as \$event (0; . + 1; if . == \$count then \$event else empty end)" || return 1
}

# node_follow NAME PROGRAM [SECONDS]: prints what the jq program PROGRAM makes of each event, from the first event on,
# until the node ends, nobody reads on, or the time (a day) is over. To be read with `while read`.
node_follow() {
    if ((BASHPID == $$)); then
        (node_follow "$@")
        return
    fi
    close_inputs
    node_events "$1" "${3:-86400}" | jq -rc --unbuffered "$2"
}

# node_first NAME SECONDS [OPTION]... PROGRAM: prints the first thing that the jq program makes of the events, its
# `inputs`; the options are jq's. Status as jq's: 4 if it makes nothing before the time is over or the node ends.
node_first() {
    jq -rcen "${@:3:$#-3}" "first(${*: -1})" < <(node_events "$1" "$2")
}

# node_events NAME SECONDS: the node's events from the first on, followed until the node ends. Replaces the shell that
# it runs in, a subshell.
node_events() {
    close_inputs
    exec timeout --foreground "$2" tail -n +1 -s 0.1 --pid="${NODE_PID[$1]}" -f "$NET_DIR/$1.jsonl" 2>/dev/null
}

# node_runs NAME: status 0 if the node has not ended.
node_runs() {
    local pid
    for pid in $(jobs -rp); do
        [[ $pid != "${NODE_PID[$1]:-}" ]] || return 0
    done
    return 1
}

# node_close NAME: has the node end in good order, and waits until it has. Status: its exit status.
node_close() {
    local pid=${NODE_PID[$1]:?no such node} status=0
    node_leave "$1"
    if ! node_await "$1" '.event == "bye"' >/dev/null && node_runs "$1"; then
        note "$1 did not end by itself"
        kill -KILL "$pid"
    fi
    { wait "$pid" || status=$?; } 2>/dev/null
    unset "NODE_PID[$1]"
    return "$status"
}

# node_leave NAME: tells the node to end, unless that is done, and closes its stdin. (Its end alone would not do: a child
# of the script's may hold it open.)
node_leave() {
    local fd=${NODE_IN[$1]:-}
    [[ -n $fd ]] || return 0
    { printf '{"cmd":"exit"}\n' >&"$fd" || :; } 2>/dev/null
    exec {fd}>&-
    unset "NODE_IN[$1]"
}

# node_kill NAME [SIGNAL]: sends the node a signal (KILL) and waits until it is gone. Status 0.
node_kill() {
    local fd=${NODE_IN[$1]:?no such node} pid=${NODE_PID[$1]}
    { kill -s "${2:-KILL}" "$pid" && wait "$pid"; } 2>/dev/null || :
    exec {fd}>&-
    unset "NODE_PID[$1]" "NODE_IN[$1]"
}

# net_jq [OPTION]... PROGRAM: runs a jq program over all that the nodes have said so far: `$net` of net.jq. The options are
# jq's. Status: jq's.
net_jq() {
    whole_lines "$NET_DIR"/*.jsonl |
        jq -nr -L "$ROOT/scripts" "${@:1:$#-1}" "include \"net\"; network(events) as \$net | ${*: -1}"
}

# whole_lines LOG...: the logs one after the other, without a last line that is being written, or was when its node died.
whole_lines() {
    sed -s '$ { /}$/!d }' "$@"
}

# The longest that a wait may take, in seconds: far more than any takes, for it only serves to fail.
P2P_DEADLINE=${P2P_DEADLINE:-20}
