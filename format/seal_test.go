package format

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
)

func TestSealedTapeOpensWithItsIdentityOnly(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	other, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	b, want := sampleTape(t, WriterOptions{Recipients: []age.Recipient{id.Recipient()}, CheckpointEvery: 9, ChunkSize: PageSize, Signer: testSigner(t)}, true)
	for _, secret := range []string{"xvda", "ring full", "xen/vcpu/0", "operator"} {
		require.NotContains(t, string(b), secret)
	}
	r := openBytes(t, b, ReaderOptions{Identities: []age.Identity{other, id}})
	require.Equal(t, want, collect(t, r, Query{}))
	checkSnapshots(t, r)
	require.Greater(t, len(r.keys), 2, "epochs")

	for _, ids := range [][]age.Identity{nil, {other}} {
		r := openBytes(t, b, ReaderOptions{Identities: ids})
		require.True(t, r.Encrypted())
		require.Empty(t, r.Damage())
		require.Len(t, r.Streams(), 3) // by number and kind only
		n := 0
		for rec, err := range r.Records(Query{}) {
			require.Nil(t, rec)
			require.ErrorIs(t, err, ErrNoKey)
			n++
		}
		require.NotZero(t, n)
		_, err := r.Snapshot(1)
		require.ErrorIs(t, err, ErrNoKey)
	}
}

func TestSealedTapeVerifiesWithoutKey(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	b, want := sampleTape(t, WriterOptions{Recipients: []age.Recipient{id.Recipient()}, CheckpointEvery: 20, ChunkSize: PageSize, Signer: testSigner(t)}, true)
	v := verifyBytes(t, b, VerifyOptions{})
	require.Empty(t, v.Damage)
	require.True(t, v.Complete)
	require.NotZero(t, v.Unread)
	require.Equal(t, uint64(len(want)), v.Records)
	require.Equal(t, uint64(1), v.Gaps)
	require.Equal(t, SignatureValid, v.Signature)
	v = verifyBytes(t, b, VerifyOptions{Identities: []age.Identity{id}})
	require.True(t, v.OK)
	require.Zero(t, v.Unread)

	// Damage is seen, and saved from, without the key too.
	ref := openBytes(t, b, ReaderOptions{})
	step := 101
	if testing.Short() {
		step = 8009
	}
	for bit := 0; bit < 8*len(b); bit += step {
		b[bit/8] ^= 1 << (bit % 8)
		v := verifyBytes(t, b, VerifyOptions{})
		require.False(t, v.OK, "bit %d of byte %d: %v", bit%8, bit/8, chunkAt(ref, int64(bit/8)))
		out, _ := salvageBytes(t, b, SalvageOptions{})
		v = verifyBytes(t, out, VerifyOptions{})
		require.True(t, v.OK, "bit %d of byte %d: %+v", bit%8, bit/8, v.Damage)
		r := openBytes(t, out, ReaderOptions{Identities: []age.Identity{id}})
		got := 0
		for rec, err := range r.Records(Query{}) {
			var d *Damage
			if err != nil {
				require.True(t, errors.As(err, &d), "%v", err)
				continue
			}
			if g, ok := rec.(*Gap); ok && g.Reason == GapDamage {
				continue
			}
			require.Equal(t, want[rec.Header().Seq-1], rec)
			got++
		}
		require.Greater(t, got, len(want)/2)
		b[bit/8] ^= 1 << (bit % 8)
	}
}

// TestEpochKeyIsErased: when an epoch has ended, and its last chunk is sealed,
// nothing of its key is left in what the Writer keeps.
func TestEpochKeyIsErased(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{Recipients: []age.Recipient{id.Recipient()}, Workers: 2, CheckpointEvery: 1000})
	require.NoError(t, err)
	var past []*epochKey
	for range 4 {
		require.NoError(t, w.Write(&Mark{Text: "secret"}))
		require.NoError(t, w.Flush())
		k := w.sealer.current
		require.False(t, reflect.ValueOf(k.aead).Elem().IsZero())
		past = append(past, k)
		require.NoError(t, w.Checkpoint())
		require.NotSame(t, k, w.sealer.current)
	}
	require.NoError(t, w.Seal())
	for i, k := range past {
		require.Zero(t, k.users)
		require.True(t, reflect.ValueOf(k.aead).Elem().IsZero(), "epoch %d", i+1)
		require.True(t, reflect.ValueOf(k.block).Elem().IsZero(), "epoch %d", i+1)
		require.Nil(t, w.sealer.current)
	}
	r := openBytes(t, out.Bytes(), ReaderOptions{Identities: []age.Identity{id}})
	require.Len(t, collect(t, r, Query{}), 4, "what was sealed before can still be opened by who has the identity")
}

// TestSealedBodyIsBoundToItsHeader: sealed content is bound to its chunk.
func TestSealedBodyIsBoundToItsHeader(t *testing.T) {
	k, err := newEpochKey(1, bytes.Repeat([]byte{1}, epochKeySize), [16]byte{2})
	require.NoError(t, err)
	h := chunkHead{Type: chunkRecords, Flags: flagSealed, Number: 7, Tape: [16]byte{2}, Meta: []byte{1, 2}}
	b := k.seal(nil, &h, []byte("secret"))
	got, err := k.open(&h, b)
	require.NoError(t, err)
	require.Equal(t, "secret", string(got))
	for name, change := range map[string]func(*chunkHead){
		"number": func(h *chunkHead) { h.Number++ },
		"type":   func(h *chunkHead) { h.Type = chunkRepeat },
		"tape":   func(h *chunkHead) { h.Tape[3]++ },
		"meta":   func(h *chunkHead) { h.Meta = []byte{1, 3} },
	} {
		c := h
		change(&c)
		_, err := k.open(&c, b)
		require.Error(t, err, name)
	}
}
