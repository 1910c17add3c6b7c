package process_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

var update = flag.Bool("update", false, "make testdata anew from the large recordings in XENTAPE_DATA")

// fixtures are real recordings reduced to the frames an analysis reads, with the
// guest's own account of each moment.
var fixtures = []struct {
	name  string
	from  string // folder of the large recordings
	times []string
}{
	{"deb11-5.10", "memory", []string{"t2"}},
	{"deb12-6.1", "memory", []string{"t1", "t2", "t3"}},
	{"sid-7.2-la57", "memory-fresh", []string{"t1"}},
	{"deb13-6.18-wide", "memory-wide", []string{"t1"}},
}

var (
	fixtureLock sync.Mutex
	fixtureRead = map[string][]*imagetest.Sparse{}
	fixtureSaid = map[string][]*truth{}
)

// fixture reads the recordings of one machine, once for all tests: they change
// clones.
func fixture(t testing.TB, name string) ([]*imagetest.Sparse, []*truth) {
	fixtureLock.Lock()
	defer fixtureLock.Unlock()
	if fixtureRead[name] == nil {
		fixtureRead[name], fixtureSaid[name] = readFixture(t, name)
	}
	return fixtureRead[name], fixtureSaid[name]
}

func readFixture(t testing.TB, name string) (images []*imagetest.Sparse, truths []*truth) {
	var prev *imagetest.Sparse
	for _, f := range fixtures {
		if f.name != name {
			continue
		}
		for _, at := range f.times {
			r, err := os.Open(filepath.Join("testdata", name+"."+at+".frames.zst"))
			require.NoError(t, err)
			prev, err = imagetest.Read(r, prev)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			images = append(images, prev)
			b, err := os.ReadFile(filepath.Join("testdata", name+"."+at+".truth.json.zst"))
			require.NoError(t, err)
			z, err := zstd.NewReader(nil)
			require.NoError(t, err)
			b, err = z.DecodeAll(b, nil)
			require.NoError(t, err)
			w := new(truth)
			require.NoError(t, json.Unmarshal(b, w))
			truths = append(truths, w)
		}
	}
	require.NotEmpty(t, images, name)
	return images, truths
}

// recorder notes the frames read, and offers only some to be searched.
type recorder struct {
	replay.Memory
	offered map[uint64]bool
	read    map[uint64]bool
}

func (r *recorder) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	st, err := r.Memory.ReadPage(n, dst)
	r.read[n] = r.read[n] || st == format.PageData
	return st, err
}

func (r *recorder) Extents() []format.Extent {
	var out []format.Extent
	for _, x := range r.Memory.Extents() {
		for f := x.Start; f-x.Start < x.Count; f++ {
			if r.offered[f] {
				out = append(out, format.Extent{Start: f, Count: 1})
			}
		}
	}
	return out
}

// TestUpdateFixtures reduces the large recordings: what an analysis reads by
// address, the task structures a search finds, and both copies of VMCOREINFO.
func TestUpdateFixtures(t *testing.T) {
	if !*update {
		t.Skip("run with -update to make testdata anew")
	}
	for _, f := range fixtures {
		var prev *imagetest.Sparse
		for i, at := range f.times {
			base := filepath.Join(os.Getenv("XENTAPE_DATA"), f.from, f.name+"."+at)
			m := openImage(t, base+".elf", i+1)
			offered := searched(t, m)
			// The kernel's text need not be kept for a symbol table that has to
			// be searched for: the note says where it is while this is read.
			first := process.New(process.Options{})
			require.NoError(t, first.Feed(m))
			m.Attach("elf/note/VMCOREINFO", first.InfoWithTable())
			// The further snapshots are read as first ones too, so that each
			// image stands alone.
			r := &recorder{Memory: m, offered: offered, read: map[uint64]bool{}}
			a := process.New(process.Options{})
			require.NoError(t, a.Feed(r))
			a.ExamineAll()
			s := &imagetest.Sparse{Frames: map[uint64]*imagetest.Page{}, Prev: prev}
			s.Origin = fmt.Sprintf("%s.%s.elf, reduced to the frames the process analysis reads", f.name, at)
			s.Header.Info = m.Info()
			for n := range r.read {
				p := new(imagetest.Page)
				_, err := m.ReadPage(n, p[:])
				require.NoError(t, err)
				s.Frames[n] = p
			}
			if prev != nil { // what the one before read may be read again
				for n := range prev.Frames {
					p := new(imagetest.Page)
					_, err := m.ReadPage(n, p[:])
					require.NoError(t, err)
					s.Frames[n] = p
				}
			}
			out, err := os.Create(filepath.Join("testdata", f.name+"."+at+".frames.zst"))
			require.NoError(t, err)
			require.NoError(t, s.Write(out))
			require.NoError(t, out.Close())
			b, err := json.Marshal(loadTruth(t, base+".truth.json"))
			require.NoError(t, err)
			z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join("testdata", f.name+"."+at+".truth.json.zst"), z.EncodeAll(b, nil), 0o644))
			prev = s
		}
	}
}

// searched returns the frames a search must be offered.
func searched(t *testing.T, m replay.Memory) map[uint64]bool {
	a := process.New(process.Options{})
	require.NoError(t, a.Feed(m))
	offered := map[uint64]bool{}
	for _, p := range a.Processes() {
		pa := uint64(p.Evidence[0].Physical)
		for f := pa / format.PageSize; f <= (pa+16<<10)/format.PageSize; f++ {
			offered[f] = true
		}
	}
	page := make([]byte, format.PageSize)
	for _, x := range m.Extents() {
		for f := x.Start; f-x.Start < x.Count; f++ {
			_, err := m.ReadPage(f, page)
			require.NoError(t, err)
			if hasInfo(page) {
				offered[f] = true
			}
		}
	}
	return offered
}

func hasInfo(page []byte) bool { return bytes.Contains(page, []byte("OSRELEASE=")) }

// TestFixturesEqualProc is TestRecordingsEqualProc on what the repository holds.
func TestFixturesEqualProc(t *testing.T) {
	for _, f := range fixtures {
		t.Run(f.name, func(t *testing.T) {
			images, truths := fixture(t, f.name)
			over := process.New(process.Options{})
			for i, m := range images {
				n := m.Info().Snapshot
				require.NoError(t, over.Feed(m))
				requireEqual(t, truths[i], over.At(n))
				requireSockets(t, truths[i], over.At(n))
				requireStatus(t, truths[i], over.At(n))
				h, ok := over.Host(n)
				require.True(t, ok)
				requireHost(t, truths[i], h)

				alone := process.New(process.Options{})
				require.NoError(t, alone.Feed(m.Clone()))
				requireEqual(t, truths[i], alone.At(n))
			}
			require.Empty(t, over.Findings())
		})
	}
}
