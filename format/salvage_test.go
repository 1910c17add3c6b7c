package format

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func verifyBytes(t testing.TB, b []byte, o VerifyOptions) *VerifyReport {
	t.Helper()
	v, err := Verify(bytes.NewReader(b), int64(len(b)), o)
	require.NoError(t, err)
	return v
}

func TestVerifyAcceptsWhatIsWritten(t *testing.T) {
	for _, every := range []int{1000, 9, 3} {
		b := tinyTape(t, true, every)
		v := verifyBytes(t, b, VerifyOptions{})
		require.Empty(t, v.Damage)
		require.True(t, v.OK)
		require.True(t, v.Complete)
		require.Equal(t, SignatureValid, v.Signature)
		require.Equal(t, v.LastSeq, v.Records)
		require.Equal(t, uint64(1), v.Gaps)
		require.Equal(t, v.Chunks-2, v.SignedChunks) // all but the last tree head and the footer
		require.Equal(t, SignatureTrusted, verifyBytes(t, b, VerifyOptions{TrustedKeys: [][]byte{testSigner(t).Public()}}).Signature)
		v = verifyBytes(t, b, VerifyOptions{TrustedKeys: [][]byte{make([]byte, 32)}})
		require.Equal(t, SignatureBad, v.Signature)
		require.False(t, v.OK)

		v = verifyBytes(t, tinyTape(t, false, every), VerifyOptions{})
		require.True(t, v.OK)
		require.False(t, v.Complete)
	}
}

// TestNothingSignedIsNotTrusted: a header names a key, and a loss chunk says that all
// that was signed with it is lost. That anyone can write.
func TestNothingSignedIsNotTrusted(t *testing.T) {
	b := tinyTape(t, true, 1000)
	r := openBytes(t, b, ReaderOptions{})
	at := slices.IndexFunc(r.chunks, func(c *chunkInfo) bool { return c.head.Type == chunkIndex })
	cut := b[:r.chunks[at].off]
	trusted := VerifyOptions{TrustedKeys: [][]byte{testSigner(t).Public()}}
	saved, _ := salvageBytes(t, cut, SalvageOptions{})
	other, err := NewSigningKey(rand.NewChaCha8([32]byte{7}))
	require.NoError(t, err)
	signed, _ := salvageBytes(t, cut, SalvageOptions{Signer: other})
	for _, b := range [][]byte{cut, saved, signed} {
		require.Equal(t, SignatureNone, verifyBytes(t, b, VerifyOptions{}).Signature)
		v := verifyBytes(t, b, trusted)
		require.Equal(t, SignatureBad, v.Signature)
		require.False(t, v.OK)
	}
	require.Equal(t, SignatureTrusted, verifyBytes(t, b, trusted).Signature)
}

func salvageBytes(t testing.TB, b []byte, o SalvageOptions) ([]byte, *SalvageReport) {
	t.Helper()
	var out bytes.Buffer
	rep, err := Salvage(&out, bytes.NewReader(b), int64(len(b)), o)
	require.NoError(t, err)
	return out.Bytes(), rep
}

func TestSalvageOfCompleteTapeIsTheTape(t *testing.T) {
	b := tinyTape(t, true, 9)
	out, rep := salvageBytes(t, b, SalvageOptions{})
	require.True(t, bytes.Equal(b, out))
	require.Zero(t, rep.LostChunks)
}

// TestVerifySeesEveryBitFlip and salvage makes of it a tape that verifies, holds
// all that survives, and says what does not.
func TestVerifySeesEveryBitFlip(t *testing.T) {
	step := 29 // prime to 8
	if testing.Short() {
		step = 1013
	}
	for _, every := range []int{1000, 12} {
		b := tinyTape(t, true, every)
		ref, want, err := readEverything(t, b)
		require.NoError(t, err)
		for bit := 0; bit < 8*len(b); bit += step {
			b[bit/8] ^= 1 << (bit % 8)
			v := verifyBytes(t, b, VerifyOptions{})
			require.False(t, v.OK, "bit %d of byte %d: %v", bit%8, bit/8, chunkAt(ref, int64(bit/8)))
			require.NotEmpty(t, v.Damage)
			checkSalvage(t, b, want)
			if t.Failed() {
				t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, chunkAt(ref, int64(bit/8)))
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestSalvageOfEveryTruncation(t *testing.T) {
	b := tinyTape(t, true, 12)
	ref, want, err := readEverything(t, b)
	require.NoError(t, err)
	step := 1
	if testing.Short() {
		step = 131
	}
	for cut := int(ref.chunks[0].end()); cut < len(b); cut += step {
		checkSalvage(t, b[:cut], want)
		if t.Failed() {
			t.Fatalf("cut at %d", cut)
		}
	}
}

func checkSalvage(t *testing.T, b []byte, want *reading) {
	t.Helper()
	_, before, err := readEverything(t, b)
	require.NoError(t, err)
	out, rep := salvageBytes(t, b, SalvageOptions{Signer: testSigner(t)})
	v := verifyBytes(t, out, VerifyOptions{})
	if !v.OK || !v.Sealed {
		t.Errorf("salvaged tape: %+v", v.Damage)
	}
	r, after, err := readEverything(t, out)
	require.NoError(t, err)
	if d := r.Damage(); len(d) > 0 {
		t.Errorf("salvaged tape opens with damage: %+v", d)
	}
	for seq, enc := range before.records {
		if after.records[seq] != enc {
			t.Errorf("record %d: lost by salvage", seq)
		}
	}
	for seq, enc := range after.records {
		if enc == want.records[seq] {
			continue
		}
		rec, err := ParseRecord([]byte(enc))
		require.NoError(t, err)
		g, ok := rec.(*Gap)
		if !ok || g.Reason != GapDamage {
			t.Errorf("record %d: not one that was written: %+v", seq, rec)
		}
	}
	for k, p := range before.pages {
		if after.pages[k] != p {
			t.Errorf("page %v: lost by salvage", k)
		}
	}
	if lost := len(want.records) - len(before.records); lost > 0 && rep.WasSealed && rep.LostRecords != uint64(lost) {
		t.Errorf("%d records lost, salvage says %d", lost, rep.LostRecords)
	}
	again, _ := salvageBytes(t, out, SalvageOptions{})
	if !bytes.Equal(again, out) {
		t.Errorf("salvage of a salvaged tape changes it")
	}
}
