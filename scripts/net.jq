# What the event logs of a network tell, for `scripts/demo` and `scripts/trace`: include "net".
#
# A log is what a node said on stdout. Logs are read one after the other; each begins with `ready`, which says whose it
# is. Nodes are named by their ids here; `.names` has their user names.

# Text of other people's, fit for a terminal or a picture: no control characters, none that turn the writing around, end a line
# or can't be seen (those that the node writes as \u{..} on stderr). A question mark takes their place.
def printable:
    explode
    | map(if . < 127 then (if . < 32 then 63 else . end)
          elif . < 160 or . == 173 or . == 847 or (. >= 1536 and . <= 1541) or . == 1564 or . == 1757 or . == 1807
              or . == 2192 or . == 2193 or . == 2274 or . == 4447 or . == 4448 or . == 6068 or . == 6069
              or (. >= 6155 and . <= 6159) or (. >= 8203 and . <= 8207) or (. >= 8232 and . <= 8238)
              or (. >= 8288 and . <= 8303) or . == 10240 or . == 12644 or . == 65279 or . == 65440
              or (. >= 65520 and . <= 65531) or . == 69821 or . == 69837 or (. >= 78896 and . <= 78911)
              or (. >= 113824 and . <= 113827) or (. >= 119155 and . <= 119162) or (. >= 917504 and . <= 921599)
          then 63 else . end)
    | implode;

# Milliseconds since 1970 of an RFC 3339 time in UTC; null for anything else (the original sends a time without zone).
def millis:
    [
        try (
            capture("^(?<s>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8})(\\.(?<f>[0-9]+))?Z$")
            | ("\(.s)Z" | fromdateiso8601) * 1000 + ("\(.f // "")000"[:3] | tonumber)
        ) catch null
    ]
    | first;

# How long a `message` took from its author to here, in milliseconds; null if that can't be told.
def took: (.received_at | millis) as $here | (.ts | millis) as $there
    | if $here and $there then $here - $there else null end;

# A number of milliseconds for people: the clocks of messages have no finer ones.
def ms: if . == null then "?" elif . < 1 then "<1" else tostring end;

# All events of all logs, each with `me`: the node that said it.
def events: foreach inputs as $event (null; if $event.event == "ready" then $event.node else . end; $event + {me: .});

# The network: `names`, `logged` (the nodes whose logs these are), `links` (pairs of nodes, each once) and, by message
# and node, `shown` (the event `message`, and how often it came as `times`), `handed` (neighbours it was passed on to) and
# `stopped` (neighbours whose copy was a duplicate). `sent` has each message's text, author, time and number of nodes
# that showed it. `downs` are the events `peer_down`.
def network(events):
    reduce events as $e ({names: {}, logged: [], links: [], shown: {}, handed: {}, stopped: {}, downs: []};
        if $e.me == null then .
        elif $e.event == "ready" then .names[$e.node] = ($e.username | printable) | .logged += [$e.node]
        elif $e.event == "peer_up" then
            .names[$e.peer] = (.names[$e.peer] // ($e.username | printable)) | .links += [[$e.me, $e.peer] | sort]
        elif $e.event == "message" and ($e.own or $e.caught_up | not) then
            (.shown[$e.id][$e.me].times // 0) as $times
            | .shown[$e.id][$e.me] = (.shown[$e.id][$e.me] // $e) | .shown[$e.id][$e.me].times = $times + 1
        elif $e.event == "peer_down" then .downs += [$e]
        elif $e.event == "forwarded" then .handed[$e.id][$e.me] += $e.to
        elif $e.event == "dropped" and $e.cause == "duplicate" then .stopped[$e.id][$e.me] += [$e.via]
        else . end)
    | .links |= unique
    | .sent = (.shown | map_values(to_entries | map(.value) | (first | {text, ts, from, room, username}) + {nodes: length}));

# How many copies of a message each node was handed, as {id: n}, when `forwarded` was shown everywhere.
def copies($net; $message): $net.sent[$message].from as $author
    | [$net.handed[$message] // {} | to_entries[] | select(.key != $author) | .value[]]
      + [$net.links[] | select(index([$author])) | .[] | select(. != $author)]
    | group_by(.) | map({key: first, value: length}) | from_entries;

# The name of a node, from its id; the start of the id if its name was never said.
def name($net): . as $id | $net.names[$id] // $id[:8];

# The nodes to which a message came first by way of each node, as {id: [ids]}, in the order of arrival.
def children($net; $message):
    reduce ($net.shown[$message] // {} | to_entries | sort_by(.value.hops, (.value | took), .value.received_at)[]) as $it
        ({}; .[$it.value.via] += [$it.key]);

# The tree below a node, drawn: [id, drawing] of each node, top down.
def tree($children; $indent):
    ($children[.] // []) as $below
    | range($below | length) as $i
    | ($i + 1 == ($below | length)) as $last
    | [$below[$i], $indent + (if $last then "└─ " else "├─ " end)],
      ($below[$i] | tree($children; $indent + (if $last then "   " else "│  " end)));

# The way by which a message came to a node, from its author on: a list of ids.
def way($net; $message; $node):
    [$node | limit(256; recurse($net.shown[$message][.].via // empty))] | reverse;
