package files

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func hashOf(b []byte) string {
	sum, _, err := hashUnpacked(bytes.NewReader(b), "", uint64(len(b)))
	if err != nil {
		panic(err)
	}
	return sum
}

// cutTo is a log cut in place.
func cutTo(at Time, held []byte, size uint64) Event {
	was := uint64(len(held))
	return of(OpTruncate, at, func(e *Event) {
		e.Path, e.Size, e.SizeOld, e.SHA256Old = "/var/log/app.log", &size, &was, hashOf(held)
	})
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func zst(b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// TestLogsCopiedAndCut: logrotate's copytruncate, whichever of the two is told first, and
// what only looks like it.
func TestLogsCopiedAndCut(t *testing.T) {
	held := []byte(strings.Repeat("sshd[812]: Accepted publickey for root\n", 300))
	longer, other := append(bytes.Clone(held), "one more\n"...), bytes.Repeat([]byte("nothing to see\n"), 500)
	damaged := gz(held)
	damaged[len(damaged)/2] ^= 0xff
	cut := func(at Time) Event { return cutTo(at, held, 0) }
	unhashed := func(e Event) Event { e.SHA256Old = ""; return e }
	const info, medium, high = "log-rotation info", "log-tampering medium", "log-tampering high"
	d := newHeldDisk()
	for what, c := range map[string]struct {
		events []Event
		want   string
		why    string
	}{
		"copied, cut":              {[]Event{d.copied(OpWrite, 0, "app.log.1", held), cut(second)}, info, "holds what is gone"},
		"cut, copied":              {[]Event{cut(0), d.copied(OpWrite, second, "app.log-20261123", held)}, info, "holds what is gone"},
		"cut while logging on":     {[]Event{d.copied(OpWrite, 0, "app.log.1", longer), cutTo(second, held, 70)}, info, "holds what is gone"},
		"compressed":               {[]Event{cut(0), d.copied(OpCreate, second, "app.log.1.gz", gz(held))}, info, "holds what is gone"},
		"compressed before":        {[]Event{d.copied(OpWrite, 0, "app.log.1.gz", gz(longer)), cut(second)}, info, "holds what is gone"},
		"by zstd":                  {[]Event{cut(0), d.copied(OpWrite, second, "app.log.1.zst", zst(held))}, info, "holds what is gone"},
		"among others":             {[]Event{d.copied(OpWrite, 0, "app.log.2.gz", gz(other)), d.copied(OpWrite, 0, "app.log.1", held), cut(0)}, info, "app.log.1 "},
		"cut":                      {[]Event{cut(0)}, high, ""},
		"copied long before":       {[]Event{d.copied(OpWrite, 0, "app.log.1", held), cut(60 * second)}, high, ""},
		"another's copy":           {[]Event{d.copied(OpWrite, 0, "other.log.1", held), cut(second)}, high, ""},
		"copied elsewhere":         {[]Event{d.copied(OpWrite, 0, "x", held), cut(second)}, high, ""},
		"beside a decoy":           {[]Event{d.copied(OpWrite, 0, "app.log.1", other), cut(second)}, high, "but holds something else"},
		"beside a short one":       {[]Event{cut(0), d.copied(OpWrite, second, "app.log.1", held[:40])}, high, "but holds something else, 40 bytes"},
		"all but its last line":    {[]Event{d.copied(OpWrite, 0, "app.log.1", held[:len(held)-39]), cut(second)}, high, "but holds something else"},
		"beside a packed decoy":    {[]Event{cut(0), d.copied(OpWrite, second, "app.log.1.gz", gz(other))}, high, "but holds something else"},
		"beside little, packed":    {[]Event{cut(0), d.copied(OpWrite, second, "app.log.1.gz", gz(other[:99]))}, high, "but holds something else, 99 bytes"},
		"beside nothing":           {[]Event{d.copied(OpCreate, 0, "app.log.1", nil), cut(second)}, high, "but holds something else, 0 bytes"},
		"beside a damaged one":     {[]Event{cut(0), d.copied(OpWrite, second, "app.log.1.gz", damaged)}, medium, "could not be seen: "},
		"beside what is not gzip":  {[]Event{cut(0), d.copied(OpWrite, second, "app.log.1.gz", other)}, medium, "could not be seen: gzip: invalid header"},
		"packed in another way":    {[]Event{cut(0), d.copied(OpWrite, second, "app.log.1.xz", other)}, medium, "could not be seen: "},
		"cut, and was not hashed":  {[]Event{d.copied(OpWrite, 0, "app.log.1", held), unhashed(cut(second))}, medium, "was not hashed"},
		"several, one unreadable":  {[]Event{d.copied(OpWrite, 0, "app.log.1", other), d.copied(OpWrite, 0, "app.log.2.gz", damaged), cut(0)}, medium, "app.log.2.gz "},
		"cut to its first entries": {[]Event{d.copied(OpWrite, 0, "app.log.1", other), cutTo(second, held, 39)}, high, "but holds something else"},
	} {
		f := newFinder(&Analyzer{})
		for i := range c.events {
			c.events[i].Type = "file"
			f.see(&c.events[i])
		}
		require.Len(t, f.list, 1, what)
		require.Equal(t, c.want, f.list[0].Kind+" "+f.list[0].Severity, what)
		require.Contains(t, strings.Join(f.list[0].Reasons, "; "), c.why, what)
	}
}

// TestLogsCutTwice: each cutting is told by its own copy.
func TestLogsCutTwice(t *testing.T) {
	d, a, b := newHeldDisk(), []byte("the first day\n"), []byte("the second day\n")
	for _, c := range []struct {
		second Event
		want   string
	}{{d.copied(OpWrite, 4*second, "app.log.1", b), "log-rotation info"}, {d.copied(OpWrite, 4*second, "app.log.1", a), "log-tampering high"}} {
		f := newFinder(&Analyzer{})
		for _, e := range []Event{d.copied(OpWrite, 0, "app.log.1", a), cutTo(second, a, 0), c.second, cutTo(5*second, b, 0)} {
			e.Type = "file"
			f.see(&e)
		}
		require.Len(t, f.list, 2)
		require.Equal(t, "log-rotation info", f.list[0].Kind+" "+f.list[0].Severity)
		require.Equal(t, c.want, f.list[1].Kind+" "+f.list[1].Severity)
	}
}

// TestRotatedLogsRemoved: log rotation removes the oldest when another comes, and what it
// has packed; nothing else.
func TestRotatedLogsRemoved(t *testing.T) {
	size := uint64(5000)
	held := bytes.Repeat([]byte("a line\n"), 900)
	// left is /var/log/ after the removal: names and how long ago they were written, days.
	removal := func(d *heldDisk, name string, age Time, holds []byte, left map[string]Time) Event {
		files := map[string]uint64{}
		for n, age := range left {
			id := uint64(200 + len(d.files))
			d.files[id], d.mtime[id] = []byte(n), now-age*day
			files["/var/log/"+n] = id
		}
		d.lists(files)
		return of(OpDelete, second, func(e *Event) {
			e.vol, e.Path, e.Inode, e.id.Num, e.Size, e.MTime, e.SHA256Old = d.vol, "/var/log/"+name, 9, 9, &size, now-age*day, hashOf(holds)
		})
	}
	came := func(inode uint64) Event {
		return of(OpRename, 0, func(e *Event) {
			e.OldPath, e.Path, e.Inode, e.id.Num = "/var/log/app.log", "/var/log/app.log.1", inode, inode
		})
	}
	older, newer := map[string]Time{"app.log.2.gz": 8, "app.log.3.gz": 9}, map[string]Time{"app.log.1": 0, "app.log.2.gz": 1}
	const info, medium = "log-rotation info", "log-tampering medium"
	for what, c := range map[string]struct {
		name   string
		age    Time
		left   map[string]Time
		others func(d *heldDisk) []Event
		want   string
	}{
		"the oldest, as another came":     {"app.log.3.gz", 7, newer, func(*heldDisk) []Event { return []Event{came(7)} }, info},
		"the oldest, and none came":       {"app.log.3.gz", 7, newer, func(*heldDisk) []Event { return nil }, medium},
		"the one that came, and older":    {"app.log.1", 0, older, func(*heldDisk) []Event { return []Event{came(9)} }, medium},
		"the one that came, and no other": {"app.log.1", 0, nil, func(*heldDisk) []Event { return []Event{came(9)} }, medium},
		"one in the midst":                {"app.log.3.gz", 7, older, func(*heldDisk) []Event { return []Event{came(7)} }, medium},
		"another log's came":              {"app.log.3.gz", 7, map[string]Time{"x.log.1": 0}, func(*heldDisk) []Event { return []Event{came(7)} }, medium},
		"packed": {"app.log.1", 0, older, func(d *heldDisk) []Event {
			return []Event{d.copied(OpWrite, 0, "app.log.1.gz", gz(held[:size]))}
		}, info},
		"beside a decoy": {"app.log.1", 0, older, func(d *heldDisk) []Event {
			return []Event{d.copied(OpWrite, 0, "app.log.1.gz", gz(bytes.Repeat([]byte{'x'}, 5000)))}
		}, medium},
	} {
		for _, removedFirst := range []bool{false, true} {
			d := newHeldDisk()
			events := append(c.others(d), removal(d, c.name, c.age, held[:size], c.left))
			if removedFirst {
				slices.Reverse(events)
			}
			require.Equal(t, []string{c.want}, suspects(events...), what)
		}
	}

	// Of a log that had grown, and went before that reached the disk, a copy holds more than
	// is known.
	part := held[:4000]
	for want, holds := range map[string][]byte{"log-rotation info": held[:size], "log-tampering medium": part} {
		d := newHeldDisk()
		written := of(OpWrite, 0, func(e *Event) {
			n := uint64(len(part))
			e.Path, e.Inode, e.id.Num, e.Size, e.SHA256New = "/var/log/app.log.1", 9, 9, &n, hashOf(part)
		})
		gone := removal(d, "app.log.1", 0, append(bytes.Clone(part), make([]byte, int(size)-len(part))...), older)
		require.Equal(t, []string{want}, suspects(written, d.copied(OpWrite, second, "app.log.1.gz", gz(holds)), gone), want)
	}

	// A copy is none of its own content once that is gone.
	d := newHeldDisk()
	copy := d.copied(OpWrite, 0, "app.log.1", held)
	gone := of(OpDelete, 2*second, func(e *Event) {
		*e = copy
		e.Op, e.SHA256Old, e.SHA256New = OpDelete, copy.SHA256New, ""
	})
	require.Equal(t, []string{"log-rotation info", "log-tampering medium"}, suspects(copy, cutTo(second, held, 0), gone))
	delete(d.files, copy.Inode)
	require.Equal(t, []string{"log-tampering high"}, suspects(copy, cutTo(second, held, 0)))
}

// TestCopiesStillToCome: what a copy holds follows its name by as long as a kernel may
// hold it back; until then no more can be said than of one that cannot be compared.
func TestCopiesStillToCome(t *testing.T) {
	d, held := newHeldDisk(), []byte("a line\n")
	a := &Analyzer{}
	a.findings = newFinder(a)
	d.vol.last = int64(now + 5*second)
	made := d.copied(OpCreate, 0, "app.log.1", nil)
	for _, e := range []Event{made, cutTo(second, held, 0)} {
		e.Type = "file"
		a.findings.see(&e)
	}
	require.Equal(t, "medium", a.Findings()[0].Severity)
	require.Contains(t, a.Findings()[0].Reasons[1], "had not reached the disk")
	d.vol.last = int64(now + 40*second)
	require.Equal(t, "high", a.Findings()[0].Severity, "it never came")
	d.files[made.Inode] = held
	written := of(OpWrite, 0, func(e *Event) {
		*e = made
		e.Op, e.Type, e.SHA256New = OpWrite, "file", hashOf(held)
		size := uint64(len(held))
		e.Size = &size
	})
	a.findings.see(&written)
	require.Equal(t, "info", a.Findings()[0].Severity)

	a.findings = newFinder(a)
	e := d.copied(OpWrite, 0, "app.log.1.gz", gz(held))
	d.vol.awaited[e.id] = awaited{}
	e.Type = "file"
	a.findings.see(&e)
	gone := d.copied(OpWrite, 0, "app.log.3.gz", gz(held))
	delete(d.files, gone.Inode)
	gone.Type = "file"
	c := cutTo(second, held, 0)
	c.Type = "file"
	a.findings.see(&c)
	require.Contains(t, a.Findings()[0].Reasons[1], errLate.Error())
	d.vol.awaited = nil
	a.findings = newFinder(a)
	a.findings.see(&gone)
	a.findings.see(&c)
	require.Contains(t, a.Findings()[0].Reasons[1], "but is gone already")
}

// TestLogsWrittenOver: a log that is as long as before, or longer, and does not begin with
// what it held.
func TestLogsWrittenOver(t *testing.T) {
	const name = "app.log"
	held := bytes.Repeat([]byte("sshd[812]: Accepted publickey for root\n"), 300)
	grown, blank := append(bytes.Clone(held), "more\n"...), bytes.Clone(held)
	copy(blank[390:429], bytes.Repeat([]byte{' '}, 39))
	was := func(e Event) Event {
		e.SHA256Old, e.sizeWas, e.whole = hashOf(held), uint64(len(held)), true
		return e
	}
	d := newHeldDisk()
	apart, other := newHeldDisk(), func(e Event, change func(*Event)) Event { change(&e); return e }
	apart.vol.info.Apart = true
	for what, c := range map[string]struct {
		e    Event
		want []string
	}{
		"appended to":            {was(d.copied(OpWrite, 0, name, grown)), []string{}},
		"written again":          {was(d.copied(OpWrite, 0, name, held)), []string{}},
		"new":                    {d.copied(OpWrite, 0, name, held), []string{}},
		"one line blanked":       {was(d.copied(OpWrite, 0, name, blank)), []string{"log-tampering high"}},
		"blanked, and more":      {was(d.copied(OpWrite, 0, name, append(blank, "more\n"...))), []string{"log-tampering high"}},
		"cut and as long again":  {was(d.copied(OpWrite, 0, name, make([]byte, len(held)))), []string{"log-tampering high"}},
		"what was still to come": {other(was(d.copied(OpWrite, 0, name, blank)), func(e *Event) { e.whole = false }), []string{}},
		"records by user":        {was(d.copied(OpWrite, 0, "lastlog", blank)), []string{}},
		"a journal":              {was(d.copied(OpWrite, 0, "journal/x/system.journal", blank)), []string{}},
		"no log":                 {was(other(d.copied(OpWrite, 0, name, blank), func(e *Event) { e.Path = "/home/u/app.log" })), []string{}},
		"shown late":             {was(other(d.copied(OpWrite, 0, name, blank), func(e *Event) { e.Shown = true })), []string{}},
		"without a journal":      {was(apart.copied(OpWrite, 0, name, blank)), []string{}},
	} {
		require.Equal(t, c.want, suspects(c.e), what)
	}
}

// TestPackedBombs: of a copy that unpacks to a thousand times its size no more is
// unpacked than the log held, and nothing of that is kept.
func TestPackedBombs(t *testing.T) {
	const bomb = 128 << 20
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	zeros := make([]byte, 1<<20)
	for range bomb / len(zeros) {
		_, err := w.Write(zeros)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sum, n, err := hashUnpacked(bytes.NewReader(packed.Bytes()), ".gz", 5000)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.Equal(t, hashOf(zeros[:5000]), sum)
	require.EqualValues(t, 5000, n)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))

	// A frame that asks its reader to keep 2 GiB: descriptor, window of 2^31 bytes, one
	// raw block (RFC 8878, section 3.1.1).
	_, _, err = hashUnpacked(bytes.NewReader([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x09, 0x00, 0x00, 'x'}), ".zst", 5000)
	require.ErrorIs(t, err, zstd.ErrWindowSizeExceeded)
}

// TestUnpackedAsPacked: what bzip2(1) packed is unpacked to what it was.
func TestUnpackedAsPacked(t *testing.T) {
	held := bytes.Repeat([]byte("systemd[1]: Started Session.\n"), 30)
	packed, err := base64.StdEncoding.DecodeString("QlpoOTFBWSZTWefgf0sAAXbbgAAQQAEgEAgKJiOcICAAcFMmJkGRgmqqabUxGRiZQ2hiHENYbQ0oYhrDqG8PsMqG8OoZw5hzDmGcM4dw6hpDuGKH8XckU4UJDn4H9LA=")
	require.NoError(t, err)
	for n, want := range map[uint64]uint64{100: 100, uint64(len(held)): uint64(len(held)), 1 << 40: uint64(len(held))} {
		sum, got, err := hashUnpacked(bytes.NewReader(packed), packing("log.1.bz2"), n)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, hashOf(held[:want]), sum)
	}
}

// FuzzUnpack: whatever is called packed, no more comes out than was asked for, and what
// comes is what a plain reader gives.
func FuzzUnpack(f *testing.F) {
	for _, b := range [][]byte{[]byte("plain"), gz([]byte("packed")), zst([]byte("packed")), []byte("BZh91AY&SY")} {
		for i := range packings {
			f.Add(b, uint8(i), uint16(4))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, how uint8, n uint16) {
		sum, got, err := hashUnpacked(bytes.NewReader(b), packings[int(how)%len(packings)], uint64(n))
		require.LessOrEqual(t, got, uint64(n))
		if err != nil {
			require.Empty(t, sum)
			return
		}
		r, err := decompress(bytes.NewReader(b), packings[int(how)%len(packings)])
		require.NoError(t, err)
		plain, _ := io.ReadAll(io.LimitReader(r, int64(n))) // which may end in an error with the last byte
		require.Equal(t, fmt.Sprint(len(plain), hashOf(plain)), fmt.Sprint(got, sum))
	})
}

var packings = []string{"", ".gz", ".bz2", ".xz", ".zst"}
