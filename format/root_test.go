package format

import (
	"bytes"
	"errors"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// sameCRC changes 33 bits of b, by the polynomial of CRC-32C itself, as anyone can:
// every checksum over them stays what it was.
func sameCRC(b []byte) {
	p := bits.Reverse32(0x1edc6f41)
	for i, x := range [5]byte{byte(p<<1) | 1, byte(p >> 7), byte(p >> 15), byte(p >> 23), byte(p >> 31)} {
		b[i] ^= x
	}
}

// TestReadingChecksTheLog: what a complete tape gives back is compared with the
// Merkle log as it is read, so that bytes changed behind the back of the checksums
// are an error and not an answer.
func TestReadingChecksTheLog(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{Rand: fixedRand(), ChunkSize: PageSize})
	require.NoError(t, err)
	mem, err := w.DefineStream(StreamDef{Kind: StreamMemory, Name: "memory"})
	require.NoError(t, err)
	s, err := w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Stream: mem}, Pages: 3})
	require.NoError(t, err)
	page := make([]byte, 3*PageSize) // nothing compresses it: it lies on the tape as it is
	_, _ = rand.NewChaCha8([32]byte{9}).Read(page)
	require.NoError(t, s.Pages([]uint64{0, 1, 2}, page))
	require.NoError(t, s.End(SnapshotEnd{}))
	require.NoError(t, w.Seal())
	for _, changed := range []int{-1, 0, 1, 2} {
		b := bytes.Clone(out.Bytes())
		if changed >= 0 {
			at := bytes.Index(b, page[changed*PageSize:][:64])
			require.Positive(t, at)
			sameCRC(b[at+1000:])
			require.NotEqual(t, page[changed*PageSize:][:PageSize], b[at:at+PageSize])
		}
		r, err := Open(bytes.NewReader(b), int64(len(b)), ReaderOptions{})
		require.NoError(t, err)
		snap, err := r.Snapshot(1)
		require.NoError(t, err)
		for n := range 3 {
			var got [PageSize]byte
			_, err := snap.ReadPage(uint64(n), got[:])
			if n != changed {
				require.NoError(t, err)
				require.Equal(t, page[n*PageSize:][:PageSize], got[:])
				continue
			}
			var d *Damage
			require.True(t, errors.As(err, &d), "%v", err)
			require.Equal(t, DamageTree, d.Kind)
			require.Zero(t, got)
		}
		v, err := Verify(bytes.NewReader(b), int64(len(b)), VerifyOptions{})
		require.NoError(t, err)
		require.Equal(t, changed < 0, v.OK)
	}
}
