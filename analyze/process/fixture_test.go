package process_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/process"
)

// fixtures are real recordings reduced to the frames an analysis reads, with the
// guest's own account of each moment.
var fixtures = []struct {
	name  string
	from  string // folder of the large recordings: update_test.go reduces them
	times []string
}{
	{"deb11-5.10", "memory", []string{"t2"}},
	{"deb12-6.1", "memory", []string{"t1", "t2", "t3"}},
	{"sid-7.2-la57", "memory-fresh", []string{"t1"}},
	{"deb13-6.18-wide", "memory-wide", []string{"t1"}},
	{"deb12-containers", "memory2", []string{"t1"}},
	{older, "memory2", []string{"t1", "t2"}},
}

// older is the fixture of a kernel without types of its own.
const older = "old-4.19-few"

// options are what the analysis of a fixture needs: that kernel's symbol file.
func options(t testing.TB, name string) (o process.Options) {
	if name == older {
		var err error
		o.Symbols, err = os.ReadFile(filepath.Join("testdata", name+".isf.json.zst"))
		require.NoError(t, err)
	}
	return o
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

// TestFixturesEqualProc is TestRecordingsEqualProc on what the repository holds.
func TestFixturesEqualProc(t *testing.T) {
	for _, f := range fixtures {
		t.Run(f.name, func(t *testing.T) {
			images, truths := fixture(t, f.name)
			over := process.New(options(t, f.name))
			for i, m := range images {
				n := m.Info().Snapshot
				require.NoError(t, over.Feed(m))
				requireEqual(t, truths[i], over.At(n))
				requireSockets(t, truths[i], over.At(n))
				requireStatus(t, truths[i], over.At(n))
				h, ok := over.Host(n)
				require.True(t, ok)
				requireHost(t, truths[i], h)

				alone := process.New(options(t, f.name))
				require.NoError(t, alone.Feed(m.Clone()))
				requireEqual(t, truths[i], alone.At(n))
			}
			require.Empty(t, over.Findings())
			for i, in := range over.Summary().Intervals {
				requireCounted(t, truths[i], truths[i+1], in)
			}
		})
	}
}
