package process_test

import (
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/format"
)

// whole holds for whatever an image contains: everything listed has an identity
// and an address, ends up in the model, and can be written; what is missing is
// said.
func whole(t *testing.T, a *process.Analyzer, err error) {
	list := a.At(1)
	if len(list) == 0 {
		require.Error(t, err)
		require.NotEmpty(t, a.Summary().CouldNot)
	}
	all := a.Processes()
	require.GreaterOrEqual(t, len(all), len(list))
	for _, p := range list {
		require.NotZero(t, p.TaskAddress)
		require.NotEmpty(t, p.Views)
		require.NotEmpty(t, p.Evidence)
		require.Positive(t, p.PID)
	}
	_, err = json.Marshal(all)
	require.NoError(t, err)
	_, err = json.Marshal(a.Findings())
	require.NoError(t, err)
}

func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestMutatedImages tries more changes than fuzzing gets to, and where they
// hurt: in the pages of the processes themselves.
func TestMutatedImages(t *testing.T) {
	rounds := uint64(6)
	if s := os.Getenv("XENTAPE_ROUNDS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 32)
		require.NoError(t, err)
		rounds = n
	}
	for _, name := range []string{"deb12-6.1", older} {
		images, _ := fixture(t, name)
		a := process.New(options(t, name))
		require.NoError(t, a.Feed(images[0]))
		at := map[uint64]bool{}
		for _, p := range a.At(1) {
			for _, e := range p.Evidence {
				for i := range uint64(3) {
					if f := uint64(e.Physical)/format.PageSize + i; images[0].Frames[f] != nil {
						at[f] = true
					}
				}
			}
		}
		only := slices.Sorted(maps.Keys(at))
		for seed := range rounds {
			b := noise(seed, 10<<(seed%12))
			start := time.Now()
			a := process.New(options(t, name))
			whole(t, a, a.Feed(images[0].Mutate(b, only)))
			require.Less(t, time.Since(start), deadline, "%s, seed %d", name, seed)
		}
	}
}

// deadline is far above what an analysis takes, and far below what a hang does.
const deadline = 30 * time.Second

// FuzzImage changes an image of one of two kernels, which have next to no structure in
// common.
func FuzzImage(f *testing.F) {
	images, _ := fixture(f, "deb12-6.1")
	old, _ := fixture(f, older)
	o := options(f, older)
	f.Add(noise(0, 4000), false)
	f.Add(noise(1, 4000), true)
	f.Fuzz(func(t *testing.T, script []byte, before bool) {
		start := time.Now()
		m, a := images[0], process.New(process.Options{})
		if before {
			m, a = old[0], process.New(o)
		}
		whole(t, a, a.Feed(m.Mutate(script, nil)))
		require.Less(t, time.Since(start), deadline)
	})
}

// A further snapshot that has been changed anywhere is followed without harm.
func FuzzFurtherSnapshot(f *testing.F) {
	images, _ := fixture(f, "deb12-6.1")
	f.Add(noise(3, 20000))
	f.Fuzz(func(t *testing.T, script []byte) {
		start := time.Now()
		a := process.New(process.Options{})
		require.NoError(t, a.Feed(images[0]))
		second := images[1].Mutate(script, nil)
		second.Prev = images[0]
		err := a.Feed(second)
		if len(a.At(2)) == 0 {
			require.Error(t, err)
		}
		require.Less(t, time.Since(start), deadline)
	})
}

func writeJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }
