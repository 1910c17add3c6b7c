package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
)

// This file holds the rules of what a person sees:
//
//   - results go to stdout, everything else to stderr with "xentape: " before it;
//   - messages begin in lower case and end without a full stop;
//   - colour and progress appear only on a terminal, and never with NO_COLOR;
//   - what a guest could have chosen is never written to a terminal raw.

// terminal is where a verb writes.
type terminal struct {
	in    io.Reader
	out   *bufio.Writer
	err   io.Writer
	color bool
	width int  // columns of stdout; 80 where it is no terminal
	live  bool // stderr is a terminal: progress may be shown
}

func newTerminal(in io.Reader, out, errw io.Writer) *terminal {
	t := &terminal{in: in, out: bufio.NewWriterSize(out, 64<<10), err: errw, width: 80}
	if isTerminal(out) {
		t.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if c, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && c >= 40 {
			t.width = c
		}
	}
	t.live = isTerminal(errw)
	return t
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && st.Mode()&os.ModeDevice != 0 && f.Name() != os.DevNull
}

func (t *terminal) warnf(format string, a ...any) {
	t.clearProgress()
	fmt.Fprintf(t.err, "xentape: "+format+"\n", a...)
}

func (t *terminal) printf(format string, a ...any) { fmt.Fprintf(t.out, format, a...) }

// progress shows one line that replaces itself; clearProgress removes it.
func (t *terminal) progress(format string, a ...any) {
	if t.live {
		fmt.Fprintf(t.err, "\r\x1b[K"+format, a...)
	}
}

func (t *terminal) clearProgress() {
	if t.live {
		fmt.Fprint(t.err, "\r\x1b[K")
	}
}

// line writes v as one line of JSON. HTML characters stay as they are: the
// reader is a program.
func (t *terminal) line(v any) error {
	e := json.NewEncoder(t.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// Colours, by meaning.
const (
	styleBold  = "1"
	styleDim   = "2"
	styleAlert = "1;31"
	styleWarn  = "33"
	styleGood  = "32"
	styleName  = "36"
)

func (t *terminal) style(code, s string) string {
	if !t.color || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// printable makes a string a guest has chosen safe for a terminal: control and
// format characters, and bytes that are not UTF-8, are written as escapes.
func printable(s string) string {
	clean := true
	for _, r := range s {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	q := strconv.QuoteToGraphic(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// clip shortens s to n columns, counted in runes.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n || n < 2 {
		return s
	}
	return string(r[:n-1]) + "…"
}

// size writes a number of bytes for a person.
func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatUint(n, 10) + " B"
	}
	v, i := float64(n)/unit, 0
	for v >= unit && i < 4 {
		v /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[i])
}
