package network

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStreamWithoutProtocolIsContent: what nc carries has no protocol, and is a
// file all the same.
func TestStreamWithoutProtocolIsContent(t *testing.T) {
	body := bytes.Repeat([]byte("\x00\x01 neither text nor any protocol "), 500)
	frames := exchange(1000, []byte("\x02go\n"), body)
	frames[6], frames[7] = frames[7], frames[6]
	a := New(Options{Content: true, FileBlocks: true, Streams: true})
	feed(t, a, frames, nil)
	require.Empty(t, oneConn(t, a).Service)
	for f := range a.Files() {
		t.Fatalf("%s is no file of a protocol", f.FUID)
	}
	var got []*File
	for f := range a.Streams() {
		got = append(got, f)
	}
	require.Len(t, got, 2)
	require.True(t, got[0].IsOrig)
	f := got[1]
	sum := sha256.Sum256(body)
	require.Equal(t, hex.EncodeToString(sum[:]), f.SHA256)
	require.True(t, f.Complete)
	require.Equal(t, "TCP", f.Source)
	require.Equal(t, uint64(len(body)), f.SeenBytes)
	require.Equal(t, sha256.Sum256(body[:BlockSize]), [32]byte(f.Blocks[0]))
	require.NotEqual(t, got[0].FUID, f.FUID)
}

// TestStreamOfAProtocolIsNot: HTTP's own bytes are not content, its bodies are
// files already; nor is a connection whose beginning is not on the tape.
func TestStreamOfAProtocolIsNot(t *testing.T) {
	request, response := downloadOf(bytes.Repeat([]byte("body "), 900))
	for name, frames := range map[string][][]byte{
		"http":      exchange(1000, request, response),
		"midstream": exchange(1000, []byte("\x02go\n"), bytes.Repeat([]byte{7, 9}, 3000))[3:],
	} {
		a := New(Options{Content: true, Streams: true})
		feed(t, a, frames, nil)
		require.NoError(t, a.Finish())
		for f := range a.Streams() {
			t.Fatalf("%s: %s of %d bytes", name, f.FUID, f.SeenBytes)
		}
	}
}
