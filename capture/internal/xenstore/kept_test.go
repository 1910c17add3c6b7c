package xenstore_test

import (
	"io"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/internal/xenstore"
)

// counting counts the messages that are sent.
type counting struct {
	io.ReadWriteCloser
	sent atomic.Int64
}

func (c *counting) Write(b []byte) (int, error) {
	c.sent.Add(1)
	return c.ReadWriteCloser.Write(b)
}

func TestKeptIsReadAgainOnlyAfterAChange(t *testing.T) {
	store := fakexen.NewStore(map[string]string{"/d/5/name": "web", "/d/5/disk/state": "4", "/d/6/name": "other"})
	conn := &counting{ReadWriteCloser: store.Dial()}
	c := xenstore.New(conn)
	defer c.Close()
	k := c.Keep("/d/5", "/later")
	dump := func() (text string, sent int64) {
		t.Helper()
		before := conn.sent.Load()
		text, err := k.Dump(t.Context())
		require.NoError(t, err)
		return text, conn.sent.Load() - before
	}
	first, all := dump()
	require.Contains(t, first, "/d/5/disk/state = \"4\"")
	require.NotContains(t, first, "other")
	require.Greater(t, all, int64(5))

	for range 3 {
		again, sent := dump()
		require.Equal(t, first, again)
		require.Equal(t, int64(1), sent, "one question: is there news")
	}
	store.Set("/d/6/name", "another")
	_, sent := dump()
	require.Equal(t, int64(1), sent, "not of these nodes")

	store.Set("/d/5/disk/state", "5")
	text, _ := dump()
	require.Contains(t, text, "/d/5/disk/state = \"5\"")
	store.Set("/later/came", "in")
	text, _ = dump()
	require.Contains(t, text, "/later/came = \"in\"")
	store.Delete("/d/5")
	text, _ = dump()
	require.NotContains(t, text, "web")

	require.NoError(t, k.Close(t.Context()))
	_, err := k.Dump(t.Context())
	require.ErrorContains(t, err, "kept")
}

func TestKeptOfALostConnectionIsAnError(t *testing.T) {
	_, c := open(t, map[string]string{"/d/5/name": "web"})
	k := c.Keep("/d/5", "/d/6")
	_, err := k.Dump(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Close())
	_, err = k.Dump(t.Context())
	require.Error(t, err, "what it was is not what it is")
}
