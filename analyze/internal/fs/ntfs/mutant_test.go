package ntfs

import (
	"testing"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// TestMutants: no damage to an image or to the writes makes the reader panic or
// run without end.
func TestMutants(t *testing.T) {
	r := small(t)
	disk := r.Base.Clone()
	fstest.Apply(t, disk, r.Log) // so that there is something to damage
	fstest.CheckMutants(t, Open, disk, disk.NonZero(1<<20), 100)
	fstest.CheckTraceMutants(t, Open, r, 20)
}
