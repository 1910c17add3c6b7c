package format

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// differencesTape has five snapshots of 40 pages, in each of which some pages
// change a little, some move, and some come back as they were. lie, if not nil,
// may change what a pages chunk commits itself to before it is cut.
func differencesTape(t *testing.T, lie func(*pack)) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{Rand: fixedRand(), ChunkSize: 6 * PageSize})
	require.NoError(t, err)
	mem, err := w.DefineStream(StreamDef{Kind: StreamMemory, Name: "memory"})
	require.NoError(t, err)
	image := make([][]byte, 40)
	for n := range image {
		image[n] = testPage(uint64(n % 30)) // some of them alike
	}
	first := bytes.Clone(image[7])
	for id := range uint32(5) {
		s, err := w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Stream: mem}, Parent: id, Pages: 40})
		require.NoError(t, err)
		for n := range image {
			if n%4 == 3 {
				image[n] = bytes.Clone(image[n])
				image[n][100*int(id)+n] ^= byte(id)
			}
		}
		if id == 3 {
			image[7], image[20] = first, image[11]
		}
		for n := range image {
			require.NoError(t, s.Page(uint64(n), image[n]))
			if lie != nil && s.pack != nil {
				lie(s.pack)
			}
		}
		require.NoError(t, s.End(SnapshotEnd{}))
	}
	require.NoError(t, w.Seal())
	return out.Bytes()
}

// auditWith audits a tape with a bound on what the auditor keeps of contents, and
// returns the first damage, and how many slots hold differences.
func auditWith(t *testing.T, b []byte, memory int64) (bad *Damage, differences int) {
	t.Helper()
	r, err := openScanned(bytes.NewReader(b), int64(len(b)), nil)
	require.NoError(t, err)
	a := newAuditor(r)
	a.versions = newVersionCache(memory)
	for _, c := range r.chunks {
		if err := a.check(c); err != nil {
			require.True(t, errors.As(err, &bad), "%v", err)
			return bad, differences
		}
		if c.head.Type == chunkPages {
			p, err := r.pack(c)
			require.NoError(t, err)
			for _, l := range p.bases {
				differences += int(min(l.pack, 1))
			}
		}
	}
	return nil, differences
}

// TestAuditOfDifferences: whether the auditor still has what a difference is to, or
// must open earlier chunks, or keeps nothing at all, makes no difference to what it
// accepts; and a commitment to another content than the slot's is found.
func TestAuditOfDifferences(t *testing.T) {
	for _, memory := range []int64{-1, 3 * PageSize, 40 * PageSize, deltaMemory} {
		bad, differences := auditWith(t, differencesTape(t, nil), memory)
		require.Nil(t, bad)
		require.Greater(t, differences, 25)
		for _, whole := range []bool{true, false} {
			lied := uint32(0)
			b := differencesTape(t, func(p *pack) {
				i := len(p.bases) - 1
				if i >= 0 && lied == 0 && p.id > 2 && (p.bases[i].pack == 0) == whole {
					lied = p.id
					p.digests[i][0] ^= 1
				}
			})
			require.NotZero(t, lied)
			bad, _ := auditWith(t, b, memory)
			require.NotNil(t, bad, "a lie about a slot that is whole: %v", whole)
			require.Equal(t, "pages", bad.Type)
			require.Contains(t, bad.Detail, "commitments to pages")
		}
	}
}

// TestAuditForgetsWhatItRejects: of a chunk that is left out no content is used to
// check those after it.
func TestAuditForgetsWhatItRejects(t *testing.T) {
	b := differencesTape(t, func(p *pack) {
		if p.id == 2 && len(p.digests) > 0 {
			p.digests[0] = [32]byte{}
		}
	})
	v, err := Verify(bytes.NewReader(b), int64(len(b)), VerifyOptions{})
	require.NoError(t, err)
	require.Len(t, v.Damage, 1)
	require.Contains(t, v.Damage[0].Detail, "commitments to pages")
	require.NotZero(t, v.LostPages)
}
