# The picture that `scripts/trace` draws: the message's tree from left to right, a column a hop, its author on the left.
# It is read after net.jq, as one program: jq 1.7 fails at modules that include others.

# ------------------------------------------------------------------------------------------------------------- layout

# The tree below a node of `children`, as {id, below: [trees]}.
def grow($children; $depth):
    {id: ., below: (if $depth > 64 then [] else [$children[.] // [] | .[] | grow($children; $depth + 1)] end)};

# The places of a tree's nodes as {id: {column, row}}, the first leaf being in row `$row`; a parent is amid its children.
def spread($depth; $row):
    (reduce .below[] as $tree ({next: $row, places: {}, rows: []};
        .next as $next
        | ($tree | spread($depth + 1; $next)) as $it
        | .places += $it.places | .next = $it.next | .rows += [$it.places[$tree.id].row])) as $it
    | (if .below == [] then $row else ($it.rows | (first + last) / 2) end) as $mine
    | {places: ($it.places + {(.id): {column: $depth, row: $mine}}), next: (if .below == [] then $row + 1 else $it.next end)};
def places: spread(0; 0).places;

# How far the nodes of pairs are apart, in rows.
def apart($pairs): . as $at
    | reduce ($pairs[] | map($at[.].row) | select(all(. != null))) as [$a, $b] (0; . + ($a - $b | . * .));

# Every tree that differs from this one by two neighbouring branches that have changed places.
def swaps:
    (range(1; .below | length) as $i | .below |= (.[:$i - 1] + [.[$i], .[$i - 1]] + .[$i + 1:])),
    (range(.below | length) as $i | .below[$i] as $it | ($it | swaps) as $swapped | .below[$i] = $swapped);

# The tree with its branches in an order that keeps the other links short; a bounded search downhill.
def untangle($pairs; $rounds):
    if $rounds == 0 then .
    else (places | apart($pairs)) as $now
        | ([limit(200; swaps) | {tree: ., apart: (places | apart($pairs))}] | min_by(.apart)) as $best
        | if $best and $best.apart < $now - 0.001 then $best.tree | untangle($pairs; $rounds - 1) else . end
    end;

# --------------------------------------------------------------------------------------------------------------- SVG

# Sizes in pixels: of a node's box, and from one to the next.
def wide: 104; def high: 40; def column: 168; def row: 58;

def round1: (. * 10 | round) / 10;
def xml: printable | @html;
def plural($noun): "\(.) \($noun)\(if . == 1 then "" else "s" end)";
def short($n): if length > $n then .[:$n - 1] + "…" else . end;

# The row in which a line may cross a column where it meets no box, nearest to the one that it would like.
def free($boxes; $wish):
    [$wish, ($boxes[] | . - 0.5, . + 0.5)]
    | map(select(. as $at | $boxes | all(. - $at | fabs >= 0.49)))
    | min_by(. - $wish | fabs) // $wish;

# A curve from one box to another: from side to side, between the boxes on its way, or where both are in a column, around
# on the right. It is moved by `$shift`, so that what crossed a link in both directions does not lie upon each other.
def curve($a; $b; $shift; $boxes):
    (if $b.column < $a.column then -1 else 1 end) as $out
    | (wide / 2 * $out) as $half
    | {x: ($a.column * column + $half), y: ($a.row * row + $shift)} as $from
    | "M\($from.x) \($from.y | round1)" + (
        if $a.column == $b.column then
            ($from.x + 22 + $shift + ($b.row - $a.row | fabs) * 6) as $x
            | "C\($x | round1) \($from.y | round1) \($x | round1) \($b.row * row + $shift | round1) "
              + "\($from.x + 2) \($b.row * row + $shift | round1)"
        else
            reduce (range($a.column + $out; $b.column; $out), $b.column) as $at ({d: "", at: $from};
                (if $at == $b.column then $b.row
                 else free($boxes["\($at)"] // []; $a.row + ($b.row - $a.row) * ($at - $a.column) / ($b.column - $a.column)) end
                 * row + $shift) as $y
                | ($at * column - $half - (if $at == $b.column then 2 * $out else 0 end)) as $x
                | (.at.x + ($x - .at.x) * 0.55) as $bend | ($x - ($x - .at.x) * 0.55) as $unbend
                | .d += "C\($bend | round1) \(.at.y | round1) \($unbend | round1) \($y | round1) \($x) \($y | round1)"
                  + (if $at == $b.column then "" else "H\($x + 2 * $half)" end)
                | .at = {x: ($x + 2 * $half), $y})
            | .d
        end);

# A node: a box with its name and what is to be said of it.
def node($place; $class; $name; $said):
    "<g transform=\"translate(\($place.column * column) \($place.row * row | round1))\">"
    + "<rect class=\"\($class)\" x=\"\(-wide / 2)\" y=\"\(-high / 2)\" width=\"\(wide)\" height=\"\(high)\" rx=\"9\"/>"
    + "<text class=\"\($class) name\" y=\"-3\">\($name | short(13) | xml)</text>"
    + "<text class=\"\($class) said\" y=\"13\">\($said)</text></g>";

def style: "
<style>
  svg { font-family: system-ui, -apple-system, \"Segoe UI\", \"DejaVu Sans\", sans-serif; }
  .page { fill: #ffffff; } .title { fill: #16202c; font-size: 18px; font-weight: 600; }
  .about { fill: #5b6b7c; font-size: 12.5px; } .head { fill: #5b6b7c; font-size: 12px; text-anchor: middle; }
  .band { fill: #f4f7fa; } .link { fill: none; stroke: #b4bfcb; stroke-width: 1; }
  .first { fill: none; stroke: #2467d6; stroke-width: 2.6; marker-end: url(#first); } #first path { fill: #2467d6; }
  .stopped { fill: none; stroke: #c8741a; stroke-width: 1.3; stroke-dasharray: 4 3.5; marker-end: url(#stopped); }
  #stopped path { fill: #c8741a; }
  .name { font-size: 13.5px; font-weight: 600; text-anchor: middle; } .said { font-size: 11px; text-anchor: middle; }
  rect.author { fill: #2467d6; } text.author { fill: #ffffff; }
  rect.seen { fill: #eaf1fd; stroke: #2467d6; stroke-width: 1.5; } text.seen { fill: #12305f; }
  rect.blind { fill: #ffffff; stroke: #b4bfcb; stroke-width: 1.5; stroke-dasharray: 5 4; } text.blind { fill: #5b6b7c; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1520; } .title { fill: #e8eef5; } .about, .head { fill: #93a3b5; }
    .band { fill: #121c29; } .link { stroke: #45566a; }
    .first { stroke: #6aa5ff; } #first path { fill: #6aa5ff; } .stopped { stroke: #e7a54a; } #stopped path { fill: #e7a54a; }
    rect.author { fill: #6aa5ff; } text.author { fill: #08182e; }
    rect.seen { fill: #15294a; stroke: #6aa5ff; } text.seen { fill: #dbe9ff; }
    rect.blind { fill: #0d1520; stroke: #45566a; } text.blind { fill: #93a3b5; }
  }
</style>
<defs>
  <marker id=\"first\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"10\" markerHeight=\"10\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker>
  <marker id=\"stopped\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker>
</defs>";

# What the lines mean, in a row from a point.
def legend($x; $y):
    "<g transform=\"translate(\($x) \($y))\">"
    + "<path class=\"first\" d=\"M0 -4H34\"/><text class=\"about\" x=\"42\">first copy</text>"
    + "<path class=\"stopped\" d=\"M126 -4H160\"/><text class=\"about\" x=\"168\">copy that was stopped</text>"
    + "<path class=\"link\" d=\"M324 -4H358\"/><text class=\"about\" x=\"366\">link</text></g>";

# A column's light ground, and what stands above it.
def ground($index; $height; $head):
    "<rect class=\"band\" x=\"\($index * column - wide / 2 - 12)\" y=\"\(-row)\" width=\"\(wide + 24)\" height=\"\($height)\" rx=\"12\"/>"
    + "<text class=\"head\" x=\"\($index * column)\" y=\"\(-row + 20)\">\($head)</text>";

# The picture of message `$id` in a network.
def draw($net; $id):
    $net.sent[$id] as $sent | $net.shown[$id] as $shown
    | children($net; $id) as $told
    # A neighbour that handed the message on and whose own log is not here hangs below the author.
    | ($told | .[$sent.from] = ((.[$sent.from] // []) + ((keys_unsorted - [$sent.from]) - ($shown | keys_unsorted)))) as $children
    | [($net.stopped[$id] // {} | to_entries[] | .key as $to | .value[] | [., $to])] as $stopped
    | ([$children | to_entries[] | .key as $from | .value[] | [$from, .] | sort]) as $tree
    | ($net.links - $tree) as $idle
    | ($sent.from | grow($children; 0) | untangle($idle; 40) | places) as $reached
    | ([$reached[].column] | max) as $hops
    | ([$reached[].row] | max + 1) as $rows
    # Nodes that the message did not reach, as far as the logs tell, have a column of their own.
    | (($net.names | keys_unsorted) - ($reached | keys_unsorted)) as $missed
    | ($reached + ([range($missed | length) | {key: $missed[.], value: {column: ($hops + 1), row: .}}] | from_entries)) as $place
    | ([$place[].column] | max) as $columns
    | (reduce $place[] as $it ({}; .["\($it.column)"] += [$it.row])) as $boxes
    | ([$rows, ($missed | length)] | max * row + row / 2 + 12) as $deep
    | (-wide / 2 - 36) as $left | (-row - 86) as $top
    | ([$columns * column + wide + 72, 560] | max) as $width | ($deep + 144) as $height
    | ([$shown[] | took] | max | ms | xml) as $slowest
    | "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"\($left) \($top) \($width) \($height)\" width=\"\($width)\" height=\"\($height)\" role=\"img\">",
      "<title>The way of a message of \($sent.username | xml)'s through \($place | length | plural("node"))</title>" + style,
      "<rect class=\"page\" x=\"\($left)\" y=\"\($top)\" width=\"\($width)\" height=\"\($height)\" rx=\"10\"/>",
      "<text class=\"title\" x=\"\($left + 24)\" y=\"\($top + 36)\">\($sent.username | short(24) | xml): “\($sent.text // "encrypted" | short(50) | xml)”</text>",
      "<text class=\"about\" x=\"\($left + 24)\" y=\"\($top + 59)\">shown by \($sent.nodes) of \($place | length - 1 | plural("other node"))"
      + " · \($net.links | length | plural("link")) · at most \([$shown[].hops] | max | plural("hop")) and \($slowest) ms"
      + " · \($stopped | length) \(if $stopped | length == 1 then "copy" else "copies" end) stopped</text>",
      (range($columns + 1) | ground(.; $deep; if . == 0 then "author" elif . > $hops then (if $missed - $net.logged == [] then "not reached" else "elsewhere" end) else plural("hop") end)),
      ($idle[] | map($place[.]) | select(all) | sort_by(.column) as [$a, $b] | "<path class=\"link\" d=\"\(curve($a; $b; 0; $boxes))\"/>"),
      ($stopped[] | map($place[.]) | select(all) | . as [$a, $b]
        | "<path class=\"stopped\" d=\"\(curve($a; $b; if [$a.column, $a.row] < [$b.column, $b.row] then -6 else 6 end; $boxes))\"/>"),
      ($children | to_entries[] | .key as $from | .value[]
        | "<path class=\"first\" d=\"\(curve($reached[$from]; $reached[.]; 0; $boxes))\"/>"),
      ($place | to_entries[] | .key as $node | $shown[$node] as $it
        | node(.value;
            if $node == $sent.from then "author" elif $it then "seen" else "blind" end;
            (if $node == $sent.from then $sent.username else $node | name($net) end);
            if $node == $sent.from then "0 ms" elif $it then "\($it | took | ms | xml) ms · \($it.hops | plural("hop"))"
            elif $net.logged | index([$node]) then "not reached" else "no log" end)),
      legend($left + 24; $top + $height - 22),
      "</svg>";

# The picture of a message; with the empty name, of the one that most nodes showed, the first of those.
def picture($message):
    network(events) as $net
    | (if $message != "" then $message
       else ($net.sent | to_entries | sort_by(-.value.nodes, .value.ts) | first.key) end) as $id
    | if $id != null and $net.sent[$id] then draw($net; $id) else error("no such message in these logs") end;
