package files

import (
	"cmp"
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// opOrder breaks ties in time: things come before they change, and change before
// they go.
var opOrder = []Op{OpMkdir, OpCreate, OpSymlink, OpLink, OpRename, OpTruncate, OpWrite, OpChmod, OpChown, OpSetxattr, OpUtime, OpUnlink, OpDelete, OpRmdir}

// flush times and orders the events and lets them go.
func (c *classifier) flush() {
	for i := range c.out {
		if c.out[i].told == 0 {
			c.interval(&c.out[i])
		}
	}
	slices.SortStableFunc(c.out, func(a, b Event) int {
		return cmp.Or(cmp.Compare(max(a.TimeLower, a.by), max(b.TimeLower, b.by)), cmp.Compare(a.told, b.told), cmp.Compare(a.class, b.class), cmp.Compare(a.Path, b.Path))
	})
	for _, e := range slices.Concat(c.passed, c.out) {
		c.v.a.emit(e)
	}
	c.follow()
}

// follow gives names that went and are not told of yet the paths that they have now that
// directories above them were told to be renamed.
func (c *classifier) follow() {
	for i := range c.out {
		e := &c.out[i]
		if e.Op != OpRename || e.Type != fs.TypeDir.String() {
			continue
		}
		for _, gs := range c.v.moving {
			for k := range gs {
				if rest, below := strings.CutPrefix(gs[k].path, e.OldPath+"/"); below {
					gs[k].path = e.Path + "/" + rest
				}
			}
		}
	}
}
