package files

import "github.com/xentape/xentape/analyze/internal/fs"

// reconcile takes in content that did not come as operations of the guest, read
// back by the recorder after a gap.
func (a *Analyzer) reconcile(fs.Stamp) { a.resync = false }
