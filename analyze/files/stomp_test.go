package files

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	day    = Time(86400e9)
	second = Time(1e9)
	now    = Time(1_800_000_000e9) + 123_456_789
)

// of is an event of one file, made long ago, at a second after now.
func of(op Op, at Time, change func(*Event)) Event {
	e := Event{Op: op, Path: "/usr/bin/x", Inode: 7, Mode: Mode{0o644, true}, Transaction: uint64(1 + at/second),
		BTime: now - 100*day, MTime: now + at, CTime: now + at, ATime: now, TimeLower: now + at, TimeUpper: now + at}
	change(&e)
	return e
}

func created(at Time) Event {
	return of(OpCreate, at, func(e *Event) { e.BTime = now + at })
}

// dates sets a file's modification time at a second, from what it was.
func dates(at, mtime Time, old *Time, change func(*Event)) Event {
	return of(OpUtime, at, func(e *Event) { e.MTime, e.MTimeOld = mtime, old; change(e) })
}

func writes(at, old Time) Event {
	return of(OpWrite, at, func(e *Event) { e.MTimeOld, e.SHA256Old, e.SHA256New = &old, "a", "b" })
}

func asIs(*Event)        {}
func program(e *Event)   { e.Mode.Bits = 0o755 }
func bothTimes(e *Event) { e.ATime = e.MTime }
func born(at Time) func(*Event) {
	return func(e *Event) { e.BTime = now + at }
}

// TestTimesSetBack: by what is on the disk, what hides and what only copies.
func TestTimesSetBack(t *testing.T) {
	long := now - 50*day
	whole := long / second * second
	for what, c := range map[string]struct {
		events []Event
		want   []string
	}{
		"touch -d of a file that was there":      {[]Event{dates(0, whole, new(now-40*day), asIs)}, []string{"time-stomp medium"}},
		"with fractions":                         {[]Event{dates(0, long, new(now-40*day), asIs)}, []string{"time-stomp medium"}},
		"after a change, in another transaction": {[]Event{writes(0, now-40*day), dates(5*second, long, new(now), asIs)}, []string{"time-stomp medium"}},
		"to what it was before the change":       {[]Event{writes(0, long), dates(5*second, long, new(now), asIs)}, []string{"time-stomp high"}},
		"in the transaction of the change": {[]Event{of(OpWrite, 0, func(e *Event) {
			e.MTime, e.MTimeOld, e.unearned, e.SHA256Old, e.SHA256New = long, new(long), true, "a", "b"
		})}, []string{"time-stomp high"}},
		"a newer version copied over": {[]Event{writes(0, now-60*day), dates(5*second, long, new(now), asIs)}, []string{"times-kept info"}},
		"and in one transaction": {[]Event{of(OpWrite, 0, func(e *Event) {
			e.MTime, e.MTimeOld, e.unearned, e.SHA256Old, e.SHA256New = long, new(now-60*day), true, "a", "b"
		}), dates(0, long, new(now-60*day), asIs)}, []string{"times-kept info"}},
		"another file with the time of the one it replaces": {[]Event{of(OpRename, 0, func(e *Event) {
			e.OldPath, e.ReplacedInode, e.MTime, e.MTimeOld, e.SHA256Old, e.SHA256New = "/tmp/x", 9, long, new(long), "a", "b"
		})}, []string{"time-stomp high"}},
		"the same file again": {[]Event{of(OpRename, 0, func(e *Event) {
			e.OldPath, e.ReplacedInode, e.MTime, e.MTimeOld, e.SHA256Old, e.SHA256New = "/tmp/x", 9, long, new(long), "a", "a"
		})}, []string{}},
		"a new file copied with its time":     {[]Event{created(0), dates(0, long, nil, born(0))}, []string{"times-kept info"}},
		"whose time came a transaction later": {[]Event{created(0), dates(3*second, long, new(now), born(0))}, []string{"times-kept info"}},
		"a new file that waited for it":       {[]Event{created(0), dates(30*second, long, new(now), born(0))}, []string{"time-stomp medium"}},
		"a new program with both times of one second": {[]Event{created(0), dates(0, whole, nil, func(e *Event) {
			born(0)(e)
			program(e)
			bothTimes(e)
		})}, []string{"time-stomp medium"}},
		"set forward":         {[]Event{dates(0, now-30*day, new(now-40*day), asIs)}, []string{}},
		"a package manager's": {[]Event{dates(0, whole, new(now-40*day), func(e *Event) { e.Path = "/var/lib/apt/lists/x" })}, []string{"times-kept info"}},
	} {
		require.Equal(t, c.want, suspects(c.events...), what)
	}
}

// TestUnpacking: files with earlier times that come one after the other are one finding;
// a program among them stands out no more.
func TestUnpacking(t *testing.T) {
	f := newFinder(&Analyzer{})
	for i := range 20 {
		at := Time(i) * second
		e := dates(at, now-50*day+Time(i), nil, func(e *Event) {
			born(at)(e)
			program(e)
			e.MTime = e.MTime / second * second
			bothTimes(e)
			e.Type, e.Path, e.Inode = "file", fmt.Sprintf("/usr/bin/%d", i), uint64(100+i)
		})
		f.see(&e)
		if i < severalKept-1 {
			require.Equal(t, FindStomp, f.list[0].Kind)
		}
	}
	require.Len(t, f.list, 1)
	require.Equal(t, "times-kept info 20 /usr/bin", fmt.Sprint(f.list[0].Kind, " ", f.list[0].Severity, " ", f.list[0].Count, " ", f.list[0].Path))
}

// TestNewContentOfANewFile: without a journal the blocks of a file may be known before
// what is written to them; that replaces nothing. What is written again does.
func TestNewContentOfANewFile(t *testing.T) {
	noise, text, size := 7.99, 4.5, uint64(20000)
	var again, late []Event
	for i := range 10 {
		fill := func(e *Event) {
			e.Path, e.Inode, e.id.Num, e.Size, e.Ranges = fmt.Sprintf("/home/u/%d.txt", i), uint64(i), uint64(i), &size, []Range{{Len: size}}
			e.EntropyOld, e.EntropyNew, e.SHA256Old, e.SHA256New = &text, &noise, "a", "b"
		}
		c, w := of(OpCreate, 0, fill), of(OpWrite, 0, fill)
		shown := of(OpWrite, second, func(e *Event) { fill(e); e.Shown = true })
		late = append(late, c, w, shown)
		again = append(again, c, w, of(OpWrite, second, fill))
	}
	require.Empty(t, suspects(late...))
	require.Equal(t, []string{"mass-encryption high"}, suspects(again...))
}
