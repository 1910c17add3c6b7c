package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/foreign"
	"github.com/xentape/xentape/format"
)

// TestMemoryRoundTrip: an image becomes a tape and comes out in every format, and
// each is read back page for page.
func TestMemoryRoundTrip(t *testing.T) {
	dir := t.TempDir()
	raw := make([]byte, 64*format.PageSize)
	for n := range 64 {
		if n%5 != 0 { // every fifth frame is zeros
			for i := range format.PageSize {
				raw[n*format.PageSize+i] = byte(n*7 + i*i>>3)
			}
		}
	}
	source := filepath.Join(dir, "guest.raw")
	require.NoError(t, os.WriteFile(source, raw, 0o644))
	tape := filepath.Join(dir, "t.xtape")
	ok(t, "import", "--paused", "--memory", source+"@2026-11-22T12:00:00Z", "-o", tape)
	for _, as := range []string{"raw", "lime", "elf", "xen-core", "xl-save"} {
		out := filepath.Join(dir, "out."+as)
		r := xentape(t, "export", "memory", tape, "--format", as, "-o", out)
		require.Equal(t, exitDone, r.code, r.err)
		m, c, err := openMemory(out, false)
		require.NoError(t, err, as)
		for _, w := range m.Warnings {
			require.Contains(t, w, "vCPU", "a raw image had no processor state to give")
		}
		require.Equal(t, as, m.Format)
		page := make([]byte, format.PageSize)
		for n := range uint64(64) {
			st, err := m.ReadPage(n, page)
			require.NoError(t, err)
			require.Contains(t, []format.PageState{format.PageData, format.PageZero}, st, "%s frame %d", as, n)
			require.True(t, bytes.Equal(raw[n*format.PageSize:(n+1)*format.PageSize], page), "%s frame %d", as, n)
		}
		require.NoError(t, c.Close())
		if as != "raw" {
			continue
		}
		require.Contains(t, r.err, "tells holes from zeros nowhere", "the loss is said")
	}
}

// TestWritesRoundTrip: a log a kernel wrote becomes a tape and comes out as a log that
// replays to the same disk and, read again, has the same requests at the same times.
func TestWritesRoundTrip(t *testing.T) {
	path, dir := tape(t)
	log := filepath.Join(dir, "out.log")
	ok(t, "export", "writes", path, "xvda", "-o", log)
	base, err := os.ReadFile(filepath.Join(dir, "base.img"))
	require.NoError(t, err)
	want := bytes.Clone(base)
	replayLog(t, filepath.Join(dir, "log"), want)
	replayLog(t, log, base)
	require.True(t, bytes.Equal(want, base), "both logs make the same disk")

	one, two := requests(t, filepath.Join(dir, "log")), requests(t, log)
	require.NotEmpty(t, one)
	require.Equal(t, len(one), len(two))
	for i := range one {
		require.Equal(t, one[i], two[i], "entry %d", i+1)
	}
}

// requests reads a log.
func requests(t *testing.T, path string) (all []format.Record) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	l, err := foreign.OpenLogWrites(bytes.NewReader(b), int64(len(b)), path)
	require.NoError(t, err)
	for r, err := range l.Records() {
		require.NoError(t, err)
		all = append(all, r)
	}
	return all
}

// TestCapturesRoundTrip: packets of a pcap and of a pcapng come out as they went in:
// bytes, times, lengths, link type.
func TestCapturesRoundTrip(t *testing.T) {
	_, dir := tape(t)
	first := filepath.Join(dir, "first.pcapng")
	again := filepath.Join(dir, "again.pcapng")
	in := filepath.Join(dir, "dns.pcap")
	var took [][]format.Packet
	for _, step := range [][2]string{{in, first}, {first, again}} {
		tape := step[1] + ".xtape"
		ok(t, "import", "--packets", "vif0="+step[0], "-o", tape)
		ok(t, "export", "packets", tape, "-o", step[1])
		took = append(took, packets(t, step[0]), packets(t, step[1]))
	}
	require.NotEmpty(t, took[0])
	for _, other := range took[1:] {
		require.Equal(t, took[0], other)
	}
}

// packets reads a capture; what a pcap cannot say, the direction, is left out.
func packets(t *testing.T, path string) []format.Packet {
	t.Helper()
	all := readCapture(t, path)
	for i := range all {
		all[i].Direction, all[i].Comment, all[i].Stamp = 0, "", format.Stamp{Time: all[i].Time}
	}
	return all
}

// readCapture is what a capture file holds.
func readCapture(t *testing.T, path string) (all []format.Packet) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	p, err := foreign.OpenPackets(f, path)
	require.NoError(t, err)
	for q, err := range p.All() {
		require.NoError(t, err)
		k := *q
		k.Data = bytes.Clone(q.Data)
		all = append(all, k)
	}
	return all
}

// realGuest is the recording of a PV guest that ships.
const realGuest = shipped + "/web-intrusion/tape.xtape"

// realPVHGuest is what ships of the recording of a PVH guest: part of its memory.
const realPVHGuest = shipped + "/miner/tape.xtape"

// TestRealGuestsMemoryRoundTrips: a snapshot of a real PV guest, and one of a PVH guest,
// goes out in each format, becomes a tape, and comes out of that as the same file. Where
// the format has a place for what translates the guest's addresses, the tape made of it
// shows the same processes; where not, the same frames, and the loss is said.
func TestRealGuestsMemoryRoundTrips(t *testing.T) {
	for guest, formats := range map[string]map[string]string{
		realGuest: {
			"xen-core": "",
			"xl-save":  "not suspended by its own consent",
			"elf":      "xen/p2m",
			"lime":     "xen/p2m",
			"raw":      "xen/p2m",
		},
		realPVHGuest: {
			"xen-core": "",
			"xl-save":  "not suspended by its own consent",
			"elf":      "",
			"lime":     "no processor state",
			// A raw image has zeros where this tape has nothing, and 4 GiB of them.
		},
	} {
		sees := exitDone
		if guest == realPVHGuest {
			sees = exitIncomplete // as the tape says
		}
		want := processesOf(t, sees, "--at", "#2", guest)
		require.NotEmpty(t, want)
		for as, says := range formats {
			t.Run(filepath.Base(filepath.Dir(guest))+" "+as, func(t *testing.T) {
				dir := t.TempDir()
				first, tape, again := filepath.Join(dir, "first"), filepath.Join(dir, "t.xtape"), filepath.Join(dir, "again")
				r := xentape(t, "export", "memory", guest, "--at", "#2", "--format", as, "-o", first)
				require.Equal(t, sees, r.code, r.err) // as the tape has it
				require.Contains(t, r.err, says)
				if as == "xen-core" || as == "xl-save" {
					im, f, err := openMemory(first, true)
					require.NoError(t, err)
					require.NoError(t, f.Close())
					require.Equal(t, "4.17", im.Xen)
				}
				r = xentape(t, "import", "--paused", "--memory", first+"@2026-11-22T23:19:50Z", "-o", tape)
				require.Contains(t, []int{exitDone, exitIncomplete}, r.code, r.err)
				ok(t, "export", "memory", tape, "--format", as, "-o", again)
				sameFile(t, first, again)
				// Of a PV guest frames alone tell no processes, and xl save changes its page tables.
				if guest == realPVHGuest || as == "xen-core" || as == "xl-save" {
					require.Equal(t, want, processesOf(t, sees, tape))
				}
				if guest == realPVHGuest || as != "xl-save" {
					sameFrames(t, guest, tape)
				}
			})
		}
	}
}

// sameFile fails where two files differ.
func sameFile(t *testing.T, one, two string) {
	t.Helper()
	a, err := os.Open(one)
	require.NoError(t, err)
	defer a.Close()
	b, err := os.Open(two)
	require.NoError(t, err)
	defer b.Close()
	for at, x, y := 0, make([]byte, 1<<20), make([]byte, 1<<20); ; at += len(x) {
		n, errA := io.ReadFull(a, x)
		m, errB := io.ReadFull(b, y)
		require.Equal(t, errA, errB, "one of the files is longer, or cannot be read")
		if !bytes.Equal(x[:n], y[:m]) {
			t.Fatalf("the files differ between %#x and %#x", at, at+max(n, m))
		}
		if errA != nil {
			require.Contains(t, []error{io.EOF, io.ErrUnexpectedEOF}, errA)
			return
		}
	}
}

// sameFrames fails where a tape lacks a frame of snapshot #2 of another.
func sameFrames(t *testing.T, recorded, tape string) {
	t.Helper()
	a, done, err := memoryOf(&keyFlags{}, recorded, "#2")
	require.NoError(t, err)
	defer done()
	b, done, err := memoryOf(&keyFlags{}, tape, "")
	require.NoError(t, err)
	defer done()
	x, y := make([]byte, format.PageSize), make([]byte, format.PageSize)
	for _, e := range a.Extents() {
		for n := e.Start; n < e.Start+e.Count; n++ {
			_, err := a.ReadPage(n, x)
			require.NoError(t, err)
			_, err = b.ReadPage(n, y)
			require.NoError(t, err)
			if !bytes.Equal(x, y) {
				t.Fatalf("frame %d differs", n)
			}
		}
	}
}

// TestRealGuestsWritesRoundTrip: what a real guest wrote goes out as a dm-log-writes
// log with the disk as it was, becomes a tape, and comes out of that as the same log,
// with the same disk at its end.
func TestRealGuestsWritesRoundTrip(t *testing.T) {
	dir := t.TempDir()
	base, log, end := filepath.Join(dir, "base"), filepath.Join(dir, "log"), filepath.Join(dir, "end")
	// As the copy of the disk is on the tape: with all that is in the log it becomes the disk.
	r := xentape(t, "export", "disk", realGuest, "xvda", "--at", "+0s", "-o", base)
	require.Equal(t, exitIncomplete, r.code, r.err)
	require.Contains(t, r.err, "still being copied")
	r = xentape(t, "export", "writes", realGuest, "xvda", "-o", log)
	require.Equal(t, exitDone, r.code, r.err)
	ok(t, "export", "disk", realGuest, "xvda", "-o", end)

	tape, log2, end2 := filepath.Join(dir, "t.xtape"), filepath.Join(dir, "log2"), filepath.Join(dir, "end2")
	ok(t, "import", "--base", "xvda="+base, "--writes", "xvda="+log, "-o", tape)
	ok(t, "export", "writes", tape, "xvda", "-o", log2)
	ok(t, "export", "disk", tape, "xvda", "-o", end2)
	require.NotEmpty(t, requests(t, log))
	sameFile(t, log, log2)
	sameFile(t, end, end2)
}

// TestRealGuestsPacketsRoundTrip: a real guest's packets go out as pcapng, become a
// tape, and come out the same; as pcap, which has no place for a packet's direction,
// with that alone lost.
func TestRealGuestsPacketsRoundTrip(t *testing.T) {
	dir := t.TempDir()
	first := filepath.Join(dir, "first.pcapng")
	ok(t, "export", "packets", realGuest, "-o", first)
	want := packets(t, first)
	require.NotEmpty(t, want)
	plain := filepath.Join(dir, "plain.pcap")
	f, err := os.Create(plain)
	require.NoError(t, err)
	w := pcapgo.NewWriterNanos(f)
	require.NoError(t, w.WriteFileHeader(1<<18, layers.LinkTypeEthernet))
	for _, p := range want {
		require.NoError(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, p.Time), CaptureLength: len(p.Data), Length: int(p.OrigLen)}, p.Data))
	}
	require.NoError(t, f.Close())
	for _, in := range []string{first, plain} {
		tape, again := in+".xtape", in+".again"
		ok(t, "import", "--packets", "vif0="+in, "-o", tape)
		ok(t, "export", "packets", tape, "-o", again)
		require.Equal(t, want, packets(t, again), in)
		if in == first {
			require.Equal(t, directions(t, first), directions(t, again))
			require.Contains(t, directions(t, again), uint8(1), "from the guest")
		}
	}
}

// directions of a capture's packets.
func directions(t *testing.T, path string) (all []uint8) {
	t.Helper()
	for _, p := range readCapture(t, path) {
		all = append(all, uint8(p.Direction))
	}
	return all
}

// processes lists what ps says of each process, but for when it was seen.
func processes(t *testing.T, args ...string) []string {
	t.Helper()
	return processesOf(t, exitDone, args...)
}

// processesOf is the same where ps is to end with exit.
func processesOf(t *testing.T, exit int, args ...string) (all []string) {
	t.Helper()
	r := xentape(t, append([]string{"ps", "--json"}, args...)...)
	require.Equal(t, exit, r.code, r.err)
	for _, p := range lines(t, r.out) {
		if p["summary"] == nil {
			all = append(all, fmt.Sprint(p["pid"], p["ppid"], p["comm"], p["args"], p["exe"], p["cwd"], p["uid"], p["task_address"], p["grade"]))
		}
	}
	return all
}
