package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// held is content in memory, of which what lies from unread on cannot be had.
type held struct {
	bytes  []byte
	unread int
}

func (h *held) Size() uint64         { return uint64(len(h.bytes)) }
func (h *held) Extents() []fs.Extent { return nil }
func (h *held) ReadAt(p []byte, off int64) (int, error) {
	if int(off)+len(p) > h.unread {
		return 0, &fs.UnknownError{Off: uint64(h.unread), Len: 1}
	}
	return bytes.NewReader(h.bytes).ReadAt(p, off)
}

// counted takes a whole content in.
func counted(a *Analyzer, h *held) *digest {
	d := &digest{}
	d.read = a.count(h, []fs.Range{{Len: h.Size()}}, &counter{digest: d, hash: sha256.New(), text: true})
	return d
}

// TestDigestsOfAnySize: of more contents at a time, and longer ones, than there is room
// for parts.
func TestDigestsOfAnySize(t *testing.T) {
	a := &Analyzer{parts: newParts()}
	var digests []*digest
	var wants []string
	for i, size := range []int{0, 1, smallContent, smallContent + 1, partSize - 1, partSize, partSize + 1, 3 * partSize, 20*partSize + 5} {
		for k := range 3 {
			h := &held{make([]byte, size), size}
			rand.New(rand.NewSource(int64(i*3 + k))).Read(h.bytes)
			digests, wants = append(digests, counted(a, h)), append(wants, fmt.Sprintf("%x", sha256.Sum256(h.bytes)))
		}
	}
	for i, d := range digests {
		require.Equal(t, wants[i], d.sha())
		require.True(t, d.same(d.kept()))
	}
	require.Nil(t, digests[len(digests)-1].text())
	require.Len(t, a.parts, maxParts, "all room is given back")
}

// TestDigestOfWhatIsNotKnown: nothing is said of a content that could not be read to
// its end, however far that was.
func TestDigestOfWhatIsNotKnown(t *testing.T) {
	a := &Analyzer{parts: newParts()}
	for _, unread := range []int{0, 100, smallContent + 100, 9 * partSize} {
		d := counted(a, &held{make([]byte, 10*partSize), unread})
		require.Empty(t, d.sha())
		require.Nil(t, d.entropy())
		require.False(t, d.same(d))
		<-d.counted
	}
	require.Len(t, a.parts, maxParts)
}

// TestDigestOfText: a text is kept to be compared, and had again when it was let go.
func TestDigestOfText(t *testing.T) {
	a := &Analyzer{parts: newParts()}
	text := bytes.Repeat([]byte("a line of text\n"), 2000)
	d := counted(a, &held{text, len(text)})
	require.Equal(t, text, d.text())
	require.Equal(t, "text", d.magic())
	k := d.kept()
	require.Nil(t, k.text())
	require.Equal(t, text, k.retold(func() []byte { return text }).text())
	sum := sha256.Sum256(text)
	require.Equal(t, hex.EncodeToString(sum[:]), k.sha())
	text[100] = 0
	d = counted(a, &held{text, len(text)})
	require.Nil(t, d.text())
	require.Same(t, d, d.retold(func() []byte { panic("it has none") }))
}
