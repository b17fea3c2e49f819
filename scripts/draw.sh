# shellcheck shell=bash
# Drawings for a terminal. To be sourced after lib.sh, which has the colours.

# draw_ring: draws a network as a ring with its chords. Reads lines `node NAME`, in the order of the ring, and `link A B`,
# numbers of nodes from 0; prints lines that are all of the same width. Status 0.
draw_ring() {
    LC_ALL=C awk -v dim="${INK[dim]}" -v bold="${INK[bold]}" -v off="${INK[off]}" "$RING"
}

# The lines are drawn with braille characters, each of which holds 2 dots by 4; a dot is about as high as wide.
RING='
    BEGIN { n = 0; m = 0 }
    $1 == "node" { name[n++] = $2 }
    $1 == "link" { from[m] = $2; to[m++] = $3 }
    END {
        split("1 8 2 16 4 32 64 128", bit, " ")
        radius = n < 12 ? 26 : n * 2.2
        middle = radius + 18; centre = radius + 5
        columns = int(middle) + 1; rows = int((2 * centre + 1) / 4) + 1
        for (i = 0; i < n; i++) {
            angle = 6.28318530718 * i / n
            x[i] = middle + radius * sin(angle); y[i] = centre - radius * cos(angle)
        }
        for (i = 0; i < m; i++) line(x[from[i]], y[from[i]], x[to[i]], y[to[i]])
        for (i = 0; i < n; i++) label(i, int(x[i] / 2), int(y[i] / 4))
        for (row = 0; row < rows; row++) print drawn(row)
    }

    # Sets the dots from one point to another.
    function line(x0, y0, x1, y1,    steps, i, px, py) {
        steps = int(2 * radius)
        for (i = 0; i <= steps; i++) {
            px = int(x0 + (x1 - x0) * i / steps + 0.5); py = int(y0 + (y1 - y0) * i / steps + 0.5)
            dot[px, py] = 1
        }
    }

    # Writes a node as a mark, and its name beside the mark, on the outer side of the ring.
    function label(i, column, row,    side, k, start) {
        side = sin(6.28318530718 * i / n)
        start = side > 0.1 ? column + 2 : side < -0.1 ? column - 1 - length(name[i]) : column - int(length(name[i]) / 2)
        mark[column, row] = 1
        if (side <= 0.1 && side >= -0.1) row += (y[i] < centre ? -1 : 1)
        for (k = 1; k <= length(name[i]); k++) letter[start + k - 1, row] = substr(name[i], k, 1)
        letter[start - 1, row] = letter[start + length(name[i]), row] = " "
    }

    # A line of characters. Bytes are written one by one, as not every awk knows UTF-8.
    function drawn(row,    column, text, style, bits, now, s) {
        for (column = 0; column < columns; column++) {
            bits = 0
            for (i = 0; i < 8; i++) if (dot[2 * column + i % 2, 4 * row + int(i / 2)]) bits += bit[i + 1]
            if ((column, row) in mark) { now = bold; s = "\342\227\217" }
            else if ((column, row) in letter) { now = bold; s = letter[column, row] }
            else if (bits) { now = dim; s = sprintf("%c%c%c", 226, 160 + int(bits / 64), 128 + bits % 64) }
            else { now = ""; s = " " }
            if (now != style) { text = text off now; style = now }
            text = text s
        }
        return text off
    }'
