package ext4

import (
	"github.com/xentape/xentape/analyze/internal/fs"
)

// fastState is what fast commits have said since the last full commit. The
// directories and mappings in the view do not show it yet: the filesystem
// writes them with the next full commit.
type fastState struct {
	f *FS
}

func newFastState(f *FS) *fastState { return &fastState{f: f} }

func (q *fastState) links(fs.Visitor)                    {}
func (q *fastState) removed(fs.Dirent) bool              { return false }
func (q *fastState) mapping(_ *inode, m mapping) mapping { return m }
func (q *fastState) touches(uint32) bool                 { return false }
func (q *fastState) recover(uint32)                      {}
func (q *fastState) wrote(uint32, fs.Stamp, fs.Sink)     {}
func (q *fastState) settle(*txn, *fs.Tx)                 {}
