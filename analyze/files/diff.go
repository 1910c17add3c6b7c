package files

import (
	"bytes"
	"fmt"
	"strings"
)

const (
	diffContext  = 3
	maxDiffLines = 4000     // of either side, after the common ends are cut
	maxDiffOut   = 64 << 10 // bytes of text kept
)

// unified compares two texts by line and gives a unified diff, empty when they
// are equal. Beyond maxDiffLines the changed middle is shown as replaced whole.
func unified(path string, old, now []byte) string {
	if bytes.Equal(old, now) {
		return ""
	}
	a, b := lines(old), lines(now)
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	edits := edit(a[head:len(a)-tail], b[head:len(b)-tail])
	var w strings.Builder
	fmt.Fprintf(&w, "--- a%s\n+++ b%s\n", path, path)
	hunks(&w, a, b, head, tail, edits)
	if w.Len() > maxDiffOut {
		return w.String()[:maxDiffOut] + "\n[diff cut]\n"
	}
	return w.String()
}

func lines(b []byte) []string {
	out := strings.SplitAfter(string(b), "\n")
	if out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

// edit gives for each step '=' (take from both), '-' or '+'. It is Myers' greedy
// algorithm with the trace kept, bounded by the number of differences.
func edit(a, b []string) []byte {
	const maxDifferences = 1000
	n, m := len(a), len(b)
	replaced := func() []byte {
		return append(bytes.Repeat([]byte{'-'}, n), bytes.Repeat([]byte{'+'}, m)...)
	}
	if n == 0 || m == 0 || n > maxDiffLines || m > maxDiffLines {
		return replaced()
	}
	limit := min(n+m, maxDifferences)
	v := make([]int, 2*limit+2)
	var trace [][]int
	for d := 0; d <= limit; d++ {
		trace = append(trace, append([]int(nil), v[limit-d:limit+d+2]...))
		for k := -d; k <= d; k += 2 {
			var x int
			if k == -d || k != d && v[limit+k-1] < v[limit+k+1] {
				x = v[limit+k+1]
			} else {
				x = v[limit+k-1] + 1
			}
			y := x - k
			for x < n && y < m && a[x] == b[y] {
				x, y = x+1, y+1
			}
			v[limit+k] = x
			if x >= n && y >= m {
				return backtrack(trace, n, m)
			}
		}
	}
	return replaced()
}

// backtrack walks Myers' trace from the end. trace[d] holds v for k from -d to
// d+1 as it was before step d.
func backtrack(trace [][]int, x, y int) []byte {
	var out []byte
	for d := len(trace) - 1; d >= 0; d-- {
		v := trace[d]
		at := func(k int) int { return v[k+d] }
		k := x - y
		down := k == -d || k != d && at(k-1) < at(k+1)
		var px, py int
		if d == 0 {
			px, py = 0, 0
		} else if down {
			px, py = at(k+1), at(k+1)-(k+1)
		} else {
			px, py = at(k-1), at(k-1)-(k-1)
		}
		for x > px && y > py && (d == 0 || !(down && x == px) && !(!down && y == py)) {
			if d > 0 && (down && y == py+1 && x == px || !down && x == px+1 && y == py) {
				break
			}
			out = append(out, '=')
			x, y = x-1, y-1
		}
		if d > 0 {
			if down {
				out = append(out, '+')
			} else {
				out = append(out, '-')
			}
			x, y = px, py
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// hunks prints the edits with context, joining what lies close together.
func hunks(w *strings.Builder, a, b []string, head, tail int, edits []byte) {
	all := append(bytes.Repeat([]byte{'='}, head), edits...)
	all = append(all, bytes.Repeat([]byte{'='}, tail)...)
	x, y := 0, 0
	for i := 0; i < len(all); {
		if all[i] == '=' {
			i, x, y = i+1, x+1, y+1
			continue
		}
		start := max(0, i-diffContext)
		end, same := i, 0
		for end < len(all) && same <= 2*diffContext {
			if all[end] == '=' {
				same++
			} else {
				same = 0
			}
			end++
		}
		if same > diffContext {
			end -= same - diffContext
		}
		back := i - start
		x, y = x-back, y-back
		hunk(w, a, b, all[start:end], x, y)
		for _, op := range all[start:end] {
			if op != '+' {
				x++
			}
			if op != '-' {
				y++
			}
		}
		i = end
	}
}

func hunk(w *strings.Builder, a, b []string, ops []byte, x, y int) {
	n, m := len(ops)-bytes.Count(ops, []byte{'+'}), len(ops)-bytes.Count(ops, []byte{'-'})
	from := func(at, count int) int {
		if count == 0 {
			return at
		}
		return at + 1
	}
	fmt.Fprintf(w, "@@ -%d,%d +%d,%d @@\n", from(x, n), n, from(y, m), m)
	line := func(mark byte, s string) {
		w.WriteByte(mark)
		w.WriteString(s)
		if !strings.HasSuffix(s, "\n") {
			w.WriteString("\n\\ No newline at end of file\n")
		}
	}
	for _, op := range ops {
		switch op {
		case '=':
			line(' ', a[x])
			x, y = x+1, y+1
		case '-':
			line('-', a[x])
			x++
		case '+':
			line('+', b[y])
			y++
		}
	}
}
