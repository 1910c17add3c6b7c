package fstest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sort"
)

// Entry is one path as the kernel showed it: a line of a manifest.
type Entry struct {
	Path   string            `json:"path"`
	Type   string            `json:"t"` // f d l p s c b
	Mode   uint16            `json:"mode"`
	UID    uint32            `json:"uid"`
	GID    uint32            `json:"gid"`
	Links  uint32            `json:"nlink"`
	Ino    uint64            `json:"ino"`
	MTime  int64             `json:"mt"`
	CTime  int64             `json:"ct"`
	Size   uint64            `json:"size"`
	SHA256 string            `json:"sha,omitempty"`
	Target string            `json:"link,omitempty"`
	Device []uint32          `json:"dev,omitempty"`
	Xattrs map[string]string `json:"x,omitempty"` // name to the first 16 hex digits of sha256
}

// ReadManifest reads JSON lines.
func ReadManifest(r io.Reader) ([]Entry, error) {
	var out []Entry
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var e Entry
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("manifest line %d: %w", len(out)+1, err)
		}
		out = append(out, e)
	}
	return out, s.Err()
}

// Normal changes an entry, wanted or got, before comparing: what a filesystem
// does not keep is set to zero there, with the reason beside the call. An entry
// whose path it empties is left out.
type Normal func(*Entry)

// Diff lists how got differs from want, a line each, sorted by path.
func Diff(want, got []Entry, normal Normal) []string {
	index := func(es []Entry) (map[string]string, int) {
		n := 0
		m := make(map[string]string, len(es))
		for _, e := range es {
			if normal != nil {
				normal(&e)
			}
			if e.Path == "" {
				n++
				continue
			}
			b, _ := json.Marshal(e)
			m[e.Path] = string(b)
		}
		return m, n
	}
	w, _ := index(want)
	g, left := index(got)
	var out []string
	for p, a := range w {
		if b, ok := g[p]; !ok {
			out = append(out, p+": missing")
		} else if a != b {
			out = append(out, p+":\n want "+a+"\n got  "+b)
		}
	}
	for p := range g {
		if _, ok := w[p]; !ok {
			out = append(out, p+": not in the manifest")
		}
	}
	if len(got) != len(g)+left {
		out = append(out, fmt.Sprintf("%d entries for %d paths", len(got), len(g)))
	}
	sort.Strings(out)
	return out
}
