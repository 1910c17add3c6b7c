package files

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// TestContentDestroyedBeforeTheFile: written over with noise once where something
// readable was, or twice with anything that hides it, and then deleted.
func TestContentDestroyedBeforeTheFile(t *testing.T) {
	const noise, text, zeros = 7.99, 4.4, 0.0
	for name, c := range map[string]struct {
		old, written []float64
		found        bool
	}{
		"noise over text":     {[]float64{text}, []float64{noise}, true},
		"noise over noise":    {[]float64{noise}, []float64{noise}, false},
		"zeros over text":     {[]float64{text}, []float64{zeros}, false},
		"zeros, then zeros":   {[]float64{text, zeros}, []float64{zeros, zeros}, true},
		"text over text":      {[]float64{text}, []float64{text}, false},
		"nothing written":     {nil, nil, false},
		"noise, then zeros":   {[]float64{noise, noise}, []float64{noise, zeros}, true},
		"old is not readable": {[]float64{7.5}, []float64{noise}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, l, size := newFinder(&Analyzer{}), newLife(), uint64(16384)
			for i := range c.written {
				f.lives(&Event{Op: OpWrite, Type: "file", Path: "/var/log/x", Size: &size, SHA256Old: "aa", EntropyOld: &c.old[i], EntropyNew: &c.written[i],
					Ranges: []Range{{Len: size}}}, l)
			}
			f.lives(&Event{Op: OpDelete, Type: "file", Path: "/var/log/x"}, l)
			kinds := []string{}
			for _, g := range f.list {
				kinds = append(kinds, g.Kind)
			}
			require.Equal(t, c.found, len(kinds) == 1 && kinds[0] == FindShred, kinds)
		})
	}
}

// TestWhatBoundsTheNext: a file synced by itself, or a write below the journal, says
// nothing of what else was done until then.
func TestWhatBoundsTheNext(t *testing.T) {
	const second = int64(1e9)
	for _, c := range []struct {
		basis    fs.Basis
		lag      int64
		last     int64
		previous int64
	}{
		{fs.BasisCommit, 0, 110, 103}, {fs.BasisFastCommit, 0, 110, 103},
		{fs.BasisTreeLog, 0, 103, 100}, {fs.BasisWrite, 0, 103, 100}, {fs.BasisWrite, 30, 110, 103},
	} {
		v := &volumeState{a: &Analyzer{}, previous: 100 * second, last: 103 * second, lastOK: true}
		v.info.Lag = c.lag * second
		v.Commit(&fs.Tx{Basis: c.basis, Time: 110 * second})
		require.Equal(t, [2]int64{c.previous * second, c.last * second}, [2]int64{v.previous, v.last}, "%+v", c)
	}
}

// TestDeletedAndReusedWithinATransaction: the number's new owner does not date the
// old one's end, it only bounds it.
func TestDeletedAndReusedWithinATransaction(t *testing.T) {
	const second = int64(1e9)
	v := &volumeState{previous: 100 * second, last: 103 * second, lastOK: true}
	for name, c := range map[string]struct {
		new          fs.Attr
		lower, upper int64
		basis        string
	}{
		"free":   {fs.Attr{Generation: 1, CTime: 103 * second, BTime: fs.NoTime}, 103 * second, 103*second + tick, BasisChange},
		"reused": {fs.Attr{Live: true, Generation: 2, CTime: 105 * second, BTime: 104 * second}, 100 * second, 104*second + tick, BasisCommit},
		"reused, and its birth set to another time": {fs.Attr{Live: true, Generation: 2, CTime: 105 * second, BTime: 4 * second}, 100 * second, 110 * second, BasisCommit},
	} {
		t.Run(name, func(t *testing.T) {
			id := fs.ID{Num: 7}
			k := v.classify(&fs.Tx{Basis: fs.BasisCommit, Time: 110 * second})
			k.inodes[id] = &fs.InodeChange{ID: id, Old: fs.Attr{Live: true, Generation: 1}, New: c.new}
			e := &Event{Op: OpDelete, id: id}
			k.interval(e)
			require.Equal(t, [3]any{Time(c.lower), Time(c.upper), c.basis}, [3]any{e.TimeLower, e.TimeUpper, e.TimeBasis})
		})
	}
}
