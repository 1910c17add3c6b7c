package vectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

var update = flag.Bool("update", false, "write the vectors to testdata")

// TestVectorsAreThoseInTestdata: what is in the repository is what the scenarios
// make, no more and no less.
func TestVectorsAreThoseInTestdata(t *testing.T) {
	want := map[string]bool{}
	for _, v := range All() {
		require.False(t, want[v.Name], "two vectors %s", v.Name)
		want[v.Name] = true
		js, err := json.MarshalIndent(v, "", " ")
		require.NoError(t, err)
		js = append(js, '\n')
		tape, side := filepath.Join("testdata", v.Name+".xtape"), filepath.Join("testdata", v.Name+".json")
		if *update {
			require.NoError(t, os.WriteFile(tape, v.Bytes, 0o644))
			require.NoError(t, os.WriteFile(side, js, 0o644))
		}
		got, err := os.ReadFile(tape)
		require.NoError(t, err)
		require.True(t, bytes.Equal(v.Bytes, got), "%s differs: go test -update", tape)
		gotJS, err := os.ReadFile(side)
		require.NoError(t, err)
		require.Equal(t, string(js), string(gotJS))
	}
	files, err := filepath.Glob("testdata/*.xtape")
	require.NoError(t, err)
	require.Len(t, files, len(want), "stale vectors in testdata")
	require.Greater(t, len(want), 40)
}

func identities(t *testing.T, v *Vector) []age.Identity {
	if v.Identity == "" {
		return nil
	}
	id, err := age.ParseX25519Identity(v.Identity)
	require.NoError(t, err)
	return []age.Identity{id}
}

// reading is what a read path makes of a tape.
type reading struct {
	records []Record
	failed  int
	reader  *format.Reader
}

func read(t *testing.T, r *format.Reader) *reading {
	out := &reading{reader: r}
	for rec, err := range r.Records(format.Query{}) {
		if err != nil {
			out.failed++
			continue
		}
		b, err := format.AppendRecord(nil, rec)
		require.NoError(t, err)
		s := sha256.Sum256(b)
		h := rec.Header()
		out.records = append(out.records, Record{
			Seq: h.Seq, Type: uint8(format.TypeOf(rec)), Time: h.Time, Stream: uint32(h.Stream), SHA256: hex.EncodeToString(s[:]),
		})
	}
	return out
}

func bare(rs []Record) []Record {
	out := []Record{}
	for _, r := range rs {
		r.Fields = nil
		out = append(out, r)
	}
	return out
}

func (g *reading) check(t *testing.T, v *Vector) {
	t.Helper()
	if v.Records != nil || v.Expect != "damage" {
		require.Equal(t, bare(v.Records), bare(g.records))
	}
	for _, p := range v.Pages {
		checkPage(t, g.reader, p)
	}
}

func checkPage(t *testing.T, r *format.Reader, p Page) {
	t.Helper()
	s, err := r.Snapshot(p.Snapshot)
	require.NoError(t, err)
	buf := make([]byte, format.PageSize)
	st, err := s.ReadPage(p.Page, buf)
	if p.State < 0 {
		require.Error(t, err, "page %d of snapshot %d", p.Page, p.Snapshot)
		require.Equal(t, format.PageMissing, st)
		return
	}
	require.NoError(t, err)
	require.Equal(t, format.PageState(p.State), st, "page %d of snapshot %d", p.Page, p.Snapshot)
	if st == format.PageData {
		h := sha256.Sum256(buf)
		require.Equal(t, p.SHA256, hex.EncodeToString(h[:]), "page %d of snapshot %d", p.Page, p.Snapshot)
	}
}

// TestEveryVectorThroughEveryReadPath opens each by its index, reads it as it
// grows, verifies it, saves it and reads that.
func TestEveryVectorThroughEveryReadPath(t *testing.T) {
	for _, v := range All() {
		t.Run(v.Name, func(t *testing.T) {
			src, size := bytes.NewReader(v.Bytes), int64(len(v.Bytes))
			ids := identities(t, &v)
			r, err := format.Open(src, size, format.ReaderOptions{Identities: ids})
			rep, verr := format.Verify(src, size, format.VerifyOptions{Identities: ids})
			_, serr := format.Salvage(io.Discard, src, size, format.SalvageOptions{Identities: ids})
			if v.Expect == "refuse" {
				require.Error(t, err)
				require.Error(t, verr)
				require.Error(t, serr)
				require.True(t, errors.Is(err, format.ErrUnsupported) || errors.Is(err, format.ErrNotTape), "%v", err)
				return
			}
			require.NoError(t, err)
			require.NoError(t, verr)
			require.NoError(t, serr)
			read(t, r).check(t, &v)
			checkReport(t, &v, rep)
			checkGrowing(t, &v, ids)
			checkSaved(t, &v, ids)
		})
	}
}

func checkReport(t *testing.T, v *Vector, rep *format.VerifyReport) {
	t.Helper()
	if v.Signature != "" {
		require.Equal(t, v.Signature, string(rep.Signature))
	}
	switch v.Expect {
	case "complete":
		require.Empty(t, rep.Damage)
		require.True(t, rep.OK && rep.Sealed)
	case "unfinished":
		require.Empty(t, rep.Damage)
		require.True(t, rep.OK && !rep.Sealed)
	case "damage":
		require.False(t, rep.OK)
		require.NotEmpty(t, v.Kinds)
		require.True(t, slices.ContainsFunc(rep.Damage, func(d format.Damage) bool {
			return slices.Contains(v.Kinds, string(d.Kind))
		}), "want one of %v, got %+v", v.Kinds, rep.Damage)
	default:
		t.Fatalf("expect %q", v.Expect)
	}
}

// checkGrowing reads a tape that is longer each time, up to all of it.
func checkGrowing(t *testing.T, v *Vector, ids []age.Identity) {
	t.Helper()
	var r *format.Reader
	for n := int64(200); ; n = min(n+1000, int64(len(v.Bytes))) {
		if r == nil {
			var err error
			if r, err = format.Open(bytes.NewReader(v.Bytes), n, format.ReaderOptions{Identities: ids}); err != nil {
				require.ErrorIs(t, err, format.ErrNotTape)
				continue
			}
		} else {
			require.NoError(t, r.Refresh(n))
		}
		if n == int64(len(v.Bytes)) {
			break
		}
	}
	read(t, r).check(t, v)
}

// checkSaved: what salvage makes verifies, and has every record there was.
func checkSaved(t *testing.T, v *Vector, ids []age.Identity) {
	t.Helper()
	var out bytes.Buffer
	_, err := format.Salvage(&out, bytes.NewReader(v.Bytes), int64(len(v.Bytes)), format.SalvageOptions{Identities: ids})
	require.NoError(t, err)
	src := bytes.NewReader(out.Bytes())
	rep, err := format.Verify(src, src.Size(), format.VerifyOptions{Identities: ids})
	require.NoError(t, err)
	require.True(t, rep.OK && rep.Sealed, "%+v", rep.Damage)
	r, err := format.Open(src, src.Size(), format.ReaderOptions{Identities: ids})
	require.NoError(t, err)
	got := bare(read(t, r).records)
	if v.Name != "sequence-twice" && v.Name != "settled-lie" && v.Name != "meta-root" && v.Name != "meta-types" { // salvage leaves out what contradicts itself
		for _, want := range bare(v.Records) {
			require.Contains(t, got, want)
		}
	}
	if v.Expect == "complete" {
		require.True(t, bytes.Equal(out.Bytes(), v.Bytes), "a complete tape is copied as it is")
	}
}

// TestEveryTypeHasItsFields compares values, not only bytes.
func TestEveryTypeHasItsFields(t *testing.T) {
	v := everyType()
	r, err := format.Open(bytes.NewReader(v.Bytes), int64(len(v.Bytes)), format.ReaderOptions{})
	require.NoError(t, err)
	var got []format.Record
	for rec, err := range r.Records(format.Query{}) {
		require.NoError(t, err)
		got = append(got, rec)
	}
	st := func(seq uint64, time int64, stream format.StreamID) format.Stamp {
		return format.Stamp{Seq: seq, Time: time, Stream: stream}
	}
	require.Equal(t, []format.Record{
		&format.StreamDef{Stamp: st(1, 0, 1), ID: 1, Kind: format.StreamDisk, Name: "xvda", Domain: [16]byte{7}, DomID: 3, Size: 1 << 20, Attrs: []format.Attr{{Name: "guest-type", Value: "pvh"}}},
		&format.Anchor{Stamp: st(2, 1, 0), BootID: [16]byte{1, 2}, Boottime: 10, Realtime: 1.7e18, Bracket: 250, XenSystem: -3},
		&format.Gap{Stamp: st(3, 2, 1), From: -5, To: 6, Reason: format.GapUnreadable, Count: format.Unknown, Extents: []format.Extent{{Start: 0, Count: 512}, {Start: 1 << 40, Count: 1}}, Detail: "why"},
		&format.Packet{Stamp: st(4, 3, 1), LinkType: 1, Direction: format.ToGuest, OrigLen: 1500, VNet: &format.VirtioNet{Flags: 1, GSOType: 3, HdrLen: 54, GSOSize: 1448, CsumStart: 34, CsumOffset: 16}, Comment: "note", Data: []byte{0, 0xff}},
		&format.DiskRequest{Stamp: st(5, 4, 1), ID: format.Unknown, Op: format.DiskWrite, Flags: 0x7f, Offset: 1 << 50, Length: 3, Data: []byte("abc")},
		&format.DiskCompletion{Stamp: st(6, 5, 1), ID: 77, Status: -2147483648},
		&format.SnapshotBegin{Stamp: st(7, 6, 1), ID: 1, Pages: 8},
		&format.SnapshotEnd{Stamp: st(8, 7, 1), ID: 1, Conditions: format.Conditions{
			Paused: true, Fuzzy: true, Quiesced: true, Complete: true, CopyStart: 1, PauseCall: 2, PauseDone: 3, Quiet: 4,
			CopyEnd: 5, Unpause: -6, InFlight: 7, Examined: 8, Changed: 9, Missed: 10, Method: "hash",
		}},
		&format.Attachment{Stamp: st(9, 8, 1), Snapshot: 1, Name: "xen/vcpu/0", Attrs: []format.Attr{{Name: "a", Value: "b"}}, Data: []byte("xyz")},
		&format.Event{Stamp: st(10, 9, 0), Kind: "trigger"},
		&format.Mark{Stamp: st(11, 10, 0), Text: "ünïcode"},
	}, got)
}
