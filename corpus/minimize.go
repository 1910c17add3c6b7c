package corpus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/xentape/xentape/corpus/rewrite"
	"github.com/xentape/xentape/format"
)

// Wanted names findings: the lines of an output that hold a text. Without a text
// they are all lines; of the story, all findings.
type Wanted struct{ Output, Text string }

// ParseWanted reads "OUTPUT" or "OUTPUT:TEXT".
func ParseWanted(s string) (Wanted, error) {
	output, text, _ := strings.Cut(s, ":")
	if _, ok := title[output]; !ok {
		return Wanted{}, fmt.Errorf("finding %q: want OUTPUT or OUTPUT:TEXT, OUTPUT one of %s", s, strings.Join(Outputs, ", "))
	}
	return Wanted{output, text}, nil
}

// Trace runs all analyzers on a tape and tells of every page they read.
type Trace func(ctx context.Context, tape string, onPage func(snapshot uint32, page uint64)) error

// Minimizer reduces a tape to what some findings need. It removes what no analyzer
// reads, then, piece by piece, what can go without a wanted finding going with it; it
// does not claim that nothing smaller exists. Nor may a finding appear that the whole
// tape does not give: what is missing must not look like evidence. The same tape and findings give the
// same bytes.
type Minimizer struct {
	Analyze  Analyze
	Trace    Trace
	Wanted   []Wanted
	Tries    int                          // analyses it may take; 0 = 150
	Progress func(tries int, what string) // may be nil
}

// Minimized says what became of a tape.
type Minimized struct {
	Findings                                                       int // that were wanted, and are kept
	Tries                                                          int // analyses taken
	Packets, PacketsKept, Requests, RequestsKept, Pages, PagesKept int
}

// Run writes the reduced tape of from to the new file to. A wanted text that no
// finding has is an error.
func (m *Minimizer) Run(ctx context.Context, from, to string) (*Minimized, error) {
	dir, err := os.MkdirTemp(filepath.Dir(to), ".minimize")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s := &search{m: m, ctx: ctx, from: from, work: filepath.Join(dir, "tape.xtape"), tries: m.Tries}
	if s.tries == 0 {
		s.tries = 150
	}
	if err := s.look(); err != nil {
		return nil, err
	}
	if err := s.reduce(); err != nil {
		return nil, err
	}
	best := func() (format.Compressor, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	}
	if err := rewrite.File(from, to, rewrite.Options{Keep: s.kept.keep(), Compressor: best}); err != nil {
		return nil, err
	}
	if ok, err := s.holds(to); err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("%s: the reduced tape does not show the findings", from), err, os.Remove(to))
	}
	r := s.count()
	r.Tries = s.taken
	for _, n := range s.keys {
		r.Findings += n
	}
	return r, nil
}

// findings counts, by what names them to a reader, those of a tape that are wanted,
// and, in others, the story's findings that are not. Their evidence is not compared:
// record numbers change when records go.
func (m *Minimizer) findings(ctx context.Context, tape string) (wanted, others map[string]int, err error) {
	var outputs []string
	for _, w := range m.Wanted {
		if !slices.Contains(outputs, w.Output) {
			outputs = append(outputs, w.Output)
		}
	}
	got, err := m.Analyze(ctx, tape, outputs)
	if err != nil {
		return nil, nil, err
	}
	wanted, others = map[string]int{}, map[string]int{}
	found := map[Wanted]bool{}
	for _, output := range outputs {
		lines, err := parse(output, got[output])
		if err != nil {
			return nil, nil, err
		}
		for _, f := range lines {
			key, is := output+" "+name(output, f), false
			for _, w := range m.Wanted {
				if w.Output == output && f.is(w) {
					is, found[w] = true, true
				}
			}
			switch {
			case is:
				wanted[key]++
			case output == "story" && f.is(Wanted{Output: "story"}):
				others[key]++
			}
		}
	}
	for _, w := range m.Wanted {
		if !found[w] {
			wanted[fmt.Sprintf("nothing of %s:%s", w.Output, w.Text)]++
		}
	}
	return wanted, others, nil
}

func (f finding) is(w Wanted) bool {
	if w.Output == "story" && string(f.fields["kind"]) != `"finding"` {
		return false
	}
	if w.Text == "" {
		return true
	}
	for _, v := range f.fields {
		if strings.Contains(string(v), w.Text) {
			return true
		}
	}
	return false
}
