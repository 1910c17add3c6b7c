package files

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// BodyfileOptions shape the output of The Sleuth Kit's body file, version 3:
// MD5|name|inode|mode_as_string|UID|GID|size|atime|mtime|ctime|crtime
// (wiki.sleuthkit.org, "Body file").
type BodyfileOptions struct {
	// Integers leaves out fractions of a second, for tools that cannot read them.
	Integers bool
	// MD5 reads every file; without it the field is 0.
	MD5 bool
}

// WriteBodyfile lists every path of the tree.
func WriteBodyfile(w io.Writer, t *Tree, o BodyfileOptions) error {
	b := bufio.NewWriter(w)
	for _, volume := range t.Volumes() {
		err := t.Walk(volume, func(f File) error {
			sum := "0"
			if o.MD5 && f.Type == fs.TypeFile {
				s, err := md5Of(t, f)
				if err != nil {
					return err
				}
				sum = s
			}
			name := f.Path
			if f.Type == fs.TypeSymlink {
				name += " -> " + f.Target
			}
			return bodyLine(b, o, sum, name, f.Attr)
		})
		if err != nil {
			return err
		}
	}
	return b.Flush()
}

// WriteDeleted gives a line for each event that took a name away, marked as TSK
// marks them.
func WriteDeleted(w io.Writer, events []Event, o BodyfileOptions) error {
	b := bufio.NewWriter(w)
	for i := range events {
		e := &events[i]
		if e.Op != OpDelete && e.Op != OpUnlink && e.Op != OpRmdir || e.Size == nil {
			continue
		}
		a := fs.Attr{ID: e.id, Type: typeNamed(e.Type), Mode: e.Mode.Bits, UID: *e.UID, GID: *e.GID, Size: *e.Size,
			ATime: int64(e.ATime), MTime: int64(e.MTime), CTime: int64(e.CTime), BTime: int64(e.BTime)}
		a.ID.Num = e.Inode
		if err := bodyLine(b, o, "0", e.Path+" (deleted)", a); err != nil {
			return err
		}
	}
	return b.Flush()
}

func bodyLine(w io.Writer, o BodyfileOptions, sum, name string, a fs.Attr) error {
	_, err := fmt.Fprintf(w, "%s|%s|%v|%s|%d|%d|%d|%s|%s|%s|%s\n", sum, bodyName(name), a.ID, modeString(a.Type, a.Mode), a.UID, a.GID, a.Size,
		bodyTime(a.ATime, o), bodyTime(a.MTime, o), bodyTime(a.CTime, o), bodyTime(a.BTime, o))
	return err
}

// mactime(1) takes %XX in a field for a byte, and drops a line whose name then has a
// line end: a name's line ends are written as what it reads as %0A and %0D, a name's own
// %0A as what it reads as %250A, so that two names that differ stay so.
var (
	lineEnds = strings.NewReplacer("\n", "%0A", "\r", "%0D", "%0A", "%250A", "%0D", "%250D", "%25", "%2525")
	escape   = regexp.MustCompile(`%([0-9A-Fa-f]{2})`)
)

func bodyName(s string) string {
	return strings.ReplaceAll(escape.ReplaceAllString(lineEnds.Replace(s), "%25$1"), "|", "%7C")
}

// bodyTime is seconds since 1970, as the format has it, 0 when unknown; The Sleuth Kit
// itself leaves fractions out.
func bodyTime(t int64, o BodyfileOptions) string {
	if t == fs.NoTime {
		return "0"
	}
	sec, nsec := t/1e9, t%1e9
	if nsec < 0 {
		sec, nsec = sec-1, nsec+1e9
	}
	if o.Integers {
		return fmt.Sprintf("%d", sec)
	}
	if sec < 0 && nsec > 0 { // -0.25 s is second -1 plus 0.75
		sec, nsec = sec+1, 1e9-nsec
		return fmt.Sprintf("-%d.%09d", -sec, nsec)
	}
	return fmt.Sprintf("%d.%09d", sec, nsec)
}

// modeString is TSK's: type from the directory entry, a slash, then as ls prints.
func modeString(t fs.Type, mode uint16) string {
	letter := "-"
	switch t {
	case fs.TypeFile:
		letter = "r"
	case fs.TypeDir:
		letter = "d"
	case fs.TypeSymlink:
		letter = "l"
	case fs.TypeCharDevice:
		letter = "c"
	case fs.TypeBlockDevice:
		letter = "b"
	case fs.TypeFIFO:
		letter = "p"
	case fs.TypeSocket:
		letter = "h"
	}
	return letter + "/" + letter + permissions(mode)
}

func permissions(mode uint16) string {
	out := []byte("rwxrwxrwx")
	for i := range out {
		if mode>>(8-i)&1 == 0 {
			out[i] = '-'
		}
	}
	for _, s := range []struct {
		bit    uint16
		at     int
		letter byte
	}{{0o4000, 2, 's'}, {0o2000, 5, 's'}, {0o1000, 8, 't'}} {
		if mode&s.bit != 0 {
			if out[s.at] == '-' {
				out[s.at] = s.letter - 'a' + 'A'
			} else {
				out[s.at] = s.letter
			}
		}
	}
	return string(out)
}

func typeNamed(s string) fs.Type {
	for t := fs.TypeUnknown; t <= fs.TypeSymlink; t++ {
		if t.String() == s {
			return t
		}
	}
	return fs.TypeUnknown
}

func md5Of(t *Tree, f File) (string, error) {
	c, err := t.Open(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", f.Path, err)
	}
	h := md5.New()
	if _, err := io.Copy(h, io.NewSectionReader(c, 0, int64(c.Size()))); err != nil {
		var unknown *fs.UnknownError
		if errors.As(err, &unknown) {
			return "0", nil // not all of it was captured: no hash of what is not there
		}
		return "", fmt.Errorf("%s: %w", f.Path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
