package xenstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/internal/xenstore"
)

func open(t *testing.T, nodes map[string]string) (*fakexen.Store, *xenstore.Client) {
	s := fakexen.NewStore(nodes)
	c := xenstore.New(s.Dial())
	t.Cleanup(func() { c.Close() })
	return s, c
}

func TestReadWriteListRemove(t *testing.T) {
	ctx := t.Context()
	_, c := open(t, map[string]string{"/local/domain/5/name": "web", "/local/domain/0/name": "Domain-0"})
	v, err := c.Read(ctx, "/local/domain/5/name")
	require.NoError(t, err)
	require.Equal(t, "web", v)
	names, err := c.List(ctx, "/local/domain")
	require.NoError(t, err)
	require.Equal(t, []string{"0", "5"}, names)
	names, err = c.List(ctx, "/local/domain/5/name")
	require.NoError(t, err)
	require.Empty(t, names)
	_, err = c.Read(ctx, "/nowhere")
	require.ErrorIs(t, err, xenstore.ErrNotExist)
	require.NoError(t, c.Write(ctx, "/tool/xentape", "x"))
	require.NoError(t, c.Remove(ctx, "/tool/xentape"))
	require.ErrorIs(t, c.Remove(ctx, "/tool/xentape"), xenstore.ErrNotExist)
	require.ErrorContains(t, c.Write(ctx, "/big", strings.Repeat("x", 5000)), "exceeds")
}

func TestListingTooLargeForOneMessageComesInParts(t *testing.T) {
	nodes := map[string]string{}
	for i := range 700 {
		nodes[fmt.Sprintf("/many/node-%04d", i)] = ""
	}
	_, c := open(t, nodes)
	names, err := c.List(t.Context(), "/many")
	require.NoError(t, err)
	require.Len(t, names, 700)
	require.Equal(t, "node-0000", names[0])
	require.Equal(t, "node-0699", names[699])
}

func TestCallsFromManyGoroutinesGetTheirOwnReplies(t *testing.T) {
	nodes := map[string]string{}
	for i := range 20 {
		nodes[fmt.Sprintf("/n/%d", i)] = fmt.Sprint(i * i)
	}
	_, c := open(t, nodes)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for range 20 {
				v, err := c.Read(t.Context(), fmt.Sprintf("/n/%d", i))
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint(i*i), v)
			}
		})
	}
	wg.Wait()
}

func TestWatch(t *testing.T) {
	ctx := t.Context()
	s, c := open(t, map[string]string{"/backend/vbd/1": ""})
	ch := make(chan string, 1)
	require.NoError(t, c.Watch(ctx, "/backend/vbd", "t", ch))
	require.Equal(t, "/backend/vbd", <-ch)
	s.Set("/backend/vbd/1/51712/state", "4")
	require.Equal(t, "/backend/vbd/1/51712/state", <-ch)
	require.ErrorContains(t, c.Watch(ctx, "/other", "t", ch), "in use")
	require.NoError(t, c.Unwatch(ctx, "/backend/vbd", "t"))
	s.Set("/backend/vbd/1/51712/state", "5")
	select {
	case p := <-ch:
		t.Fatalf("event of %s after the watch ended", p)
	case <-time.After(20 * time.Millisecond):
	}
}

func TestEndOfConnectionReachesEverybody(t *testing.T) {
	ours, theirs := net.Pipe()
	c := xenstore.New(ours)
	errs := make(chan error, 1)
	go func() {
		_, err := c.Read(context.Background(), "/x")
		errs <- err
	}()
	_, err := io.ReadFull(theirs, make([]byte, 16+3))
	require.NoError(t, err)
	require.NoError(t, theirs.Close())
	require.ErrorContains(t, <-errs, "connection to xenstored has ended")
	_, err = c.Read(context.Background(), "/x")
	require.ErrorContains(t, err, "connection to xenstored has ended")
	require.Error(t, c.Watch(context.Background(), "/x", "t", make(chan string)))
}

// One channel for several watches, as it is for who looks at all of them anyway.
func TestLostConnectionClosesEachChannelOnce(t *testing.T) {
	ours, theirs := net.Pipe()
	c := xenstore.New(ours)
	ch := make(chan string, 1)
	done := make(chan error)
	go func() {
		done <- errors.Join(c.Watch(context.Background(), "/x", "t", ch), c.Watch(context.Background(), "/y", "u", ch))
	}()
	for request := range uint32(2) {
		_, err := io.ReadFull(theirs, make([]byte, 16+5))
		require.NoError(t, err)
		_, err = theirs.Write(reply(xenstore.OpWatch, request+1, "OK\x00"))
		require.NoError(t, err)
	}
	require.NoError(t, <-done)
	require.NoError(t, theirs.Close())
	_, open := <-ch
	require.False(t, open)
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		_, err := c.Read(context.Background(), "/x")
		assert.ErrorContains(t, err, "connection to xenstored has ended")
	}, 10*time.Second, time.Millisecond)
}

func TestCallEndsWithItsContext(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	c := xenstore.New(ours)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := c.Read(ctx, "/x")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestDumpIsInPathOrderAndQuoted(t *testing.T) {
	_, c := open(t, map[string]string{"/d/b": "line\nbreak", "/d/a/x": "1", "/other": "2"})
	text, err := c.Dump(t.Context(), "/d")
	require.NoError(t, err)
	require.Equal(t, "/d = \"\"\n/d/a = \"\"\n/d/a/x = \"1\"\n/d/b = \"line\\nbreak\"\n", text)
}

// replies is a connection that swallows requests and plays given bytes back.
type replies struct {
	io.Reader
	started chan struct{}
	once    sync.Once
}

func (r *replies) Write(p []byte) (int, error) {
	r.once.Do(func() { close(r.started) })
	return len(p), nil
}

func (r *replies) Read(p []byte) (int, error) {
	<-r.started
	return r.Reader.Read(p)
}

func (r *replies) Close() error { return nil }

func reply(op, request uint32, payload string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, op)
	b = binary.LittleEndian.AppendUint32(b, request)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// FuzzReplies lets xenstored say anything: a call ends, with what was said for it or
// with an error.
func FuzzReplies(f *testing.F) {
	f.Add(reply(1, 1, "a\x00b\x00"))
	f.Add(reply(16, 1, "ENOENT\x00"))
	f.Add(append(reply(16, 1, "E2BIG\x00"), reply(20, 2, "7\x00a\x00\x00")...))
	f.Add(append(reply(15, 0, "/x\x00t\x00"), reply(1, 9, "")...))
	f.Add([]byte{1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := xenstore.New(&replies{Reader: bytes.NewReader(b), started: make(chan struct{})})
		names, err := c.List(context.Background(), "/d")
		if err != nil {
			require.Nil(t, names)
			return
		}
		for _, n := range names {
			require.True(t, bytes.Contains(b, []byte(n)))
		}
		require.NotErrorIs(t, err, syscall.E2BIG)
	})
}
