package files

import "github.com/xentape/xentape/analyze/internal/fs"

// lookAtTouches tells of times that were set to now, as touch(1) does. A write through
// a mapping leaves the same times when the mapping was made, or the file read, in the
// same tick of the guest's clock; what it wrote comes later. So a touch is told of only
// once a kernel would have written that back.
func (v *volumeState) lookAtTouches(now int64) {
	for len(v.touches) > 0 && (now == fs.EndOfTape || now-v.touches[0].at > fs.WritebackLag) {
		next := v.touches[0]
		v.touches = v.touches[1:]
		if w, ok := v.awaited[next.id]; ok && w.touch != nil && w.stamp.Seq == next.from {
			delete(v.awaited, next.id)
			v.a.emit(*w.touch)
		}
	}
}
