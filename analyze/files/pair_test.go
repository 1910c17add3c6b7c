package files

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// TestPairsNamesByTheirDirectories: of several names of a file that came and went in one
// transaction, those go together whose directories were dated alike.
func TestPairsNamesByTheirDirectories(t *testing.T) {
	id := func(n uint64) fs.ID { return fs.ID{Num: n} }
	dir := func(n uint64, at int64) *fs.InodeChange {
		return &fs.InodeChange{ID: id(n), New: fs.Attr{ID: id(n), Type: fs.TypeDir, Live: true, MTime: at}}
	}
	name := func(parent uint64, s string) fs.Dirent {
		return fs.Dirent{Parent: id(parent), Name: s, Child: id(50)}
	}
	c := &classifier{inodes: map[fs.ID]*fs.InodeChange{id(1): dir(1, 7), id(2): dir(2, 5), id(3): dir(3, 7), id(4): dir(4, 9)}}
	for _, w := range []struct {
		what    string
		added   []fs.Dirent
		gone    []fs.Dirent
		want    []string // the names replaced
		several bool
	}{
		{"one of each", []fs.Dirent{name(2, "b")}, []fs.Dirent{name(1, "a")}, []string{"a"}, false},
		{"only new", []fs.Dirent{name(2, "b")}, nil, []string{""}, false},
		{"a link and a rename", []fs.Dirent{name(2, "link"), name(3, "to")}, []fs.Dirent{name(1, "from")}, []string{"", "from"}, true},
		{"an unlink and a rename", []fs.Dirent{name(3, "to")}, []fs.Dirent{name(2, "unlinked"), name(1, "from")}, []string{"from"}, true},
		{"a link and a rename within one directory", []fs.Dirent{name(2, "link"), name(4, "to")}, []fs.Dirent{name(4, "from")}, []string{"", "from"}, true},
		{"two renames", []fs.Dirent{name(2, "x"), name(3, "y")}, []fs.Dirent{name(1, "a"), name(4, "b")}, []string{"b", "a"}, true},
	} {
		var gones []*gone
		for _, d := range w.gone {
			gones = append(gones, &gone{Dirent: d})
		}
		var got []string
		for _, r := range c.pairs(w.added, map[fs.ID][]*gone{id(50): gones}) {
			if r == nil {
				got = append(got, "")
				continue
			}
			got = append(got, r.Name)
			require.Equal(t, w.several, r.several, w.what)
		}
		require.Equal(t, w.want, got, w.what)
	}
}
