package network

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const multipartBody = "preamble\r\n--b\r\nContent-Disposition: form-data; name=\"x\"; filename=\"one.txt\"\r\n\r\n" +
	"first line\r\nlone\rand\nother\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=inner\r\n\r\n" +
	"--inner\r\n\r\nnested\r\n--inner--\r\n--b\r\n\r\n--not a boundary--\r\n--b--\r\nepilogue"

// TestMultipartFiles: every part is a file, byte for byte, however the body is cut
// into packets.
func TestMultipartFiles(t *testing.T) {
	request := fmt.Sprintf("POST /up HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=\"b\"\r\nContent-Length: %d\r\n\r\n%s",
		len(multipartBody), multipartBody)
	want := []string{"first line\r\nlone\rand\nother\r\n", "nested", "--not a boundary--"}
	for _, mss := range []int{1, 2, 3, 7, 100, 1460} {
		got := map[*File]string{}
		a := New(Options{Content: true, FileContent: func(f *File, _ uint64, b []byte) { got[f] += string(b) }})
		feed(t, a, exchange(mss, []byte(request), []byte("HTTP/1.1 204 No Content\r\n\r\n")), nil)
		require.NoError(t, a.Finish())
		var files []string
		for f := range a.Files() {
			require.True(t, f.Complete)
			require.NotEmpty(t, f.SHA256)
			files = append(files, got[f])
		}
		require.Equal(t, want, files, "segments of %d bytes", mss)
		for h := range a.HTTP() {
			require.Len(t, h.OrigFUIDs, 3)
			require.Equal(t, []string{"one.txt"}, h.OrigFilenames)
			require.Equal(t, uint64(strings.Index(multipartBody, "epilogue")), h.RequestBodyLen)
		}
	}
}

func TestLineCount(t *testing.T) {
	for text, want := range map[string]uint64{
		"": 0, "a": 3, "a\n": 3, "a\r\n": 3, "a\r": 3, "a\r\rb": 8, "\n\n": 4, "a\r\nb\nc": 9,
	} {
		for cut := range len(text) + 1 {
			var l lineCount
			l.add([]byte(text[:cut]), false)
			l.add([]byte(text[cut:]), false)
			require.Equal(t, want, l.total(), "%q cut at %d", text, cut)
		}
	}
}

// FuzzMultipart: how a body is cut into segments changes nothing of what is found
// in it, and no part is longer than the body.
func FuzzMultipart(f *testing.F) {
	f.Add(multipartBody)
	f.Add("--b\r\n\r\n")
	f.Add("--b\n\nx\r\n--b--")
	f.Add("--b\r\ncontent-type: multipart/x; boundary=b\r\n\r\n--b\r\n\r\n" + strings.Repeat("y", maxPartLine+10) + "\r\n--b--\r\n")
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > 16<<10 {
			return
		}
		found := func(mss int) (all []string) {
			got := map[*File]string{}
			a := New(Options{Content: true, FileContent: func(f *File, _ uint64, b []byte) { got[f] += string(b) }})
			request := fmt.Sprintf("POST / HTTP/1.1\r\nContent-Type: multipart/x; boundary=b\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			feed(t, a, exchange(mss, []byte(request), []byte("HTTP/1.1 204 No Content\r\n\r\n")), nil)
			require.NoError(t, a.Finish())
			for f := range a.Files() {
				require.LessOrEqual(t, len(got[f]), len(body))
				all = append(all, fmt.Sprintf("%q %q %v %s", f.Filename, got[f], f.Complete, f.SHA256))
			}
			for h := range a.HTTP() {
				all = append(all, fmt.Sprint(h.RequestBodyLen, len(h.OrigFUIDs), h.OrigMIMETypes))
			}
			return all
		}
		require.Equal(t, found(1460), found(7))
	})
}
