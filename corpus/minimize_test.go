package corpus

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

const (
	secretPacket = 37  // the packet a finding is made of
	secretPage   = 200 // the page it is also made of
	indexPage    = 7   // the page that says where that is
)

// writeRecording makes a tape with 100 packets and an image of 400 pages.
func writeRecording(t *testing.T, path string) {
	f, err := os.Create(path)
	require.NoError(t, err)
	w, err := format.NewWriter(f, format.WriterOptions{TapeID: [16]byte{2}, Producer: "test"})
	require.NoError(t, err)
	network, err := w.DefineStream(format.StreamDef{Kind: format.StreamNetwork, Name: "vif1.0"})
	require.NoError(t, err)
	memory, err := w.DefineStream(format.StreamDef{Kind: format.StreamMemory, Name: "memory"})
	require.NoError(t, err)
	for i := range 100 {
		require.NoError(t, w.Write(&format.Packet{Stamp: format.Stamp{Stream: network, Time: int64(i)}, LinkType: 1, OrigLen: 60, Data: bytes.Repeat([]byte{byte(i)}, 60)}))
	}
	s, err := w.BeginSnapshot(format.SnapshotBegin{Stamp: format.Stamp{Stream: memory, Time: 100}, Pages: 400})
	require.NoError(t, err)
	page := make([]byte, format.PageSize)
	for n := range uint64(400) {
		binary.LittleEndian.PutUint64(page, n*n+1)
		if n == indexPage {
			binary.LittleEndian.PutUint64(page, secretPage)
		}
		require.NoError(t, s.Page(n, page))
	}
	require.NoError(t, s.End(format.SnapshotEnd{Stamp: format.Stamp{Stream: memory, Time: 101}, Conditions: format.Conditions{Complete: true}}))
	require.NoError(t, w.Seal())
	require.NoError(t, f.Close())
}

// look is an analyzer: it searches the lower half of memory for the page that
// points to the secret, follows it, and wants a packet too.
func look(path string, onPage func(uint32, uint64)) (lines string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	r, err := format.Open(f, st.Size(), format.ReaderOptions{OnPage: onPage})
	if err != nil {
		return "", err
	}
	for rec, err := range r.Records(format.Query{}) {
		if err != nil {
			return "", err
		}
		if p, ok := rec.(*format.Packet); ok && p.Data[0] == secretPacket {
			lines += fmt.Sprintf(`{"kind":"finding","time":"t","summary":"packet %d","rule":"secret"}`+"\n", secretPacket)
		}
	}
	if len(r.Snapshots()) == 0 {
		return lines, nil
	}
	s, err := r.Snapshot(r.Snapshots()[0].Begin.ID)
	if err != nil {
		return "", err
	}
	page := make([]byte, format.PageSize)
	for n := range uint64(256) {
		if _, err := s.ReadPage(n, page); err != nil {
			return "", err
		}
		if binary.LittleEndian.Uint64(page) == secretPage {
			if _, err := s.ReadPage(secretPage, page); err != nil {
				return "", err
			}
			if binary.LittleEndian.Uint64(page) == secretPage*secretPage+1 {
				lines += `{"kind":"finding","time":"t","summary":"page","rule":"hidden"}` + "\n"
			}
			break
		}
	}
	return lines, nil
}

func minimizer(wanted ...Wanted) *Minimizer {
	return &Minimizer{
		Wanted: wanted,
		Analyze: func(_ context.Context, tape string, _ []string) (map[string][]byte, error) {
			lines, err := look(tape, nil)
			return map[string][]byte{"story": []byte(lines)}, err
		},
		Trace: func(_ context.Context, tape string, onPage func(uint32, uint64)) error {
			_, err := look(tape, onPage)
			return err
		},
	}
}

func TestMinimizeKeepsWhatTheFindingNeeds(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "whole.xtape")
	writeRecording(t, from)
	c := &Case{Name: "small", Dir: filepath.Join(dir, "small")}
	r, err := AddMinimized(context.Background(), c, from, nil, minimizer(Wanted{"story", "secret"}, Wanted{"story", "hidden"}))
	require.NoError(t, err)
	require.Equal(t, 2, r.Findings)
	require.LessOrEqual(t, r.PacketsKept, 5, "of 100")
	require.LessOrEqual(t, r.PagesKept, 4, "of 400: 8 are looked through or followed to")
	require.Equal(t, 100, r.Packets)
	require.Equal(t, 400, r.Pages)
	require.Equal(t, []string{"story:secret", "story:hidden"}, c.Kept)

	// The case verifies, and notices when the finding is gone.
	cases, err := Load(c.Dir)
	require.NoError(t, err)
	rs, err := Verify(context.Background(), cases, minimizer().Analyze, 1, nil)
	require.NoError(t, err)
	require.True(t, rs[0].OK(), "%v %v", rs[0].Err, rs[0].Differences)
	rs, err = Verify(context.Background(), cases, func(context.Context, string, []string) (map[string][]byte, error) {
		return map[string][]byte{"story": nil}, nil
	}, 1, nil)
	require.NoError(t, err)
	require.Len(t, rs[0].Differences, 2)

	// The tape verifies, and says that it is not whole.
	b, err := os.ReadFile(c.TapePath())
	require.NoError(t, err)
	rep, err := format.Verify(bytes.NewReader(b), int64(len(b)), format.VerifyOptions{})
	require.NoError(t, err)
	require.True(t, rep.OK)
	tape, err := format.Open(bytes.NewReader(b), int64(len(b)), format.ReaderOptions{})
	require.NoError(t, err)
	require.NotEmpty(t, tape.Gaps())
	for _, g := range tape.Gaps() {
		require.Equal(t, format.GapRedacted, g.Reason)
	}
}

func TestMinimizeDropsWholeImages(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "whole.xtape"), filepath.Join(dir, "small.xtape")
	writeRecording(t, from)
	r, err := minimizer(Wanted{"story", "secret"}).Run(context.Background(), from, to)
	require.NoError(t, err)
	require.Zero(t, r.PagesKept)
	again := filepath.Join(dir, "again.xtape")
	_, err = minimizer(Wanted{"story", "secret"}).Run(context.Background(), from, again)
	require.NoError(t, err)
	one, err := os.ReadFile(to)
	require.NoError(t, err)
	two, err := os.ReadFile(again)
	require.NoError(t, err)
	require.Equal(t, one, two, "the same tape and findings give the same bytes")
}

func TestMinimizeRefusesWhatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "whole.xtape")
	writeRecording(t, from)
	_, err := minimizer(Wanted{"story", "no-such-rule"}).Run(context.Background(), from, filepath.Join(dir, "small.xtape"))
	require.ErrorContains(t, err, "no finding of story:no-such-rule")
	require.NoFileExists(t, filepath.Join(dir, "small.xtape"))
	_, err = ParseWanted("processes")
	require.Error(t, err)
}

// TestMinimizeInventsNothing: an analyzer that takes a missing page for evidence makes
// that page stay.
func TestMinimizeInventsNothing(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "whole.xtape"), filepath.Join(dir, "small.xtape")
	writeRecording(t, from)
	m := minimizer(Wanted{"story", "secret"})
	sound := m.Analyze
	m.Analyze = func(ctx context.Context, tape string, outputs []string) (map[string][]byte, error) {
		got, err := sound(ctx, tape, outputs)
		if err == nil && !bytes.Contains(got["story"], []byte("hidden")) {
			got["story"] = append(got["story"], []byte(`{"kind":"finding","time":"t","summary":"a page is gone","rule":"gone"}`+"\n")...)
		}
		return got, err
	}
	r, err := m.Run(context.Background(), from, to)
	require.NoError(t, err)
	require.NotZero(t, r.PagesKept)
}
