package objects

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/linux"
)

// Clock is the guest's own idea of the time.
type Clock struct {
	Boot int64 // when it booted, nanoseconds since 1970 UTC: what to add to a start time
	Now  int64 // its wall clock at the last tick before the snapshot
}

// Times believed of a guest's clock: 1990 to 2150.
const (
	minTime = 631152000
	maxTime = 5680281600
)

// Clock reads the kernel's timekeeper.
func (v *View) Clock() (Clock, error) {
	at, ok := v.K.Symbol("tk_core")
	if !ok { // an array since 6.17, whose first is the kernel's own
		at, ok = v.K.Symbol("timekeeper_data")
	}
	if !ok {
		return Clock{}, errors.New("kernel has no symbol tk_core or timekeeper_data")
	}
	tk := v.K.At(at, "timekeeper")
	if d := v.K.At(at, "tk_data"); d.Err() == nil { // named since 6.13
		tk = d.In("timekeeper")
	} else {
		tk.Addr += v.sequenceSize() // both are in a structure without a name
	}
	sec, sub := tk.Uint("xtime_sec"), tk.Uint("tkr_mono.xtime_nsec")>>(tk.Uint("tkr_mono.shift")&63)
	toMono := seconds(tk, "wall_to_monotonic")
	boot := ktime(tk, "offs_boot")
	if tk.Err() != nil {
		return Clock{}, fmt.Errorf("timekeeper: %w", tk.Err())
	}
	if sec < minTime || sec > maxTime || sub > 2e9 {
		return Clock{}, fmt.Errorf("timekeeper at %#x: %d.%09d is no plausible time", tk.Addr, sec, sub)
	}
	return Clock{Boot: -toMono - boot, Now: int64(sec)*1e9 + int64(sub)}, nil
}

// sequenceSize is what the sequence counter before a timekeeper takes: with
// PREEMPT_RT it has a pointer to the lock that its writers hold
// (include/linux/seqlock.h).
func (v *View) sequenceSize() uint64 {
	return max(8, (v.K.At(0, "seqcount_raw_spinlock").Size()+7)&^7) // none before 5.9
}

func seconds(o linux.Object, path string) int64 {
	return o.Int(path+".tv_sec")*1e9 + o.Int(path+".tv_nsec")
}

// ktime reads a ktime_t, a plain number since 4.10.
func ktime(o linux.Object, path string) int64 { return o.Int(path) }
