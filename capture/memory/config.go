package memory

import (
	"context"
	"time"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/internal/hypercall"
)

// Pauser stops and continues a guest; guard.Client is one.
type Pauser interface {
	// Pause stops the guest for at most budget.
	Pause(domain uint16, budget time.Duration) error
	// Unpause lets it run. An error means that it was not stopped until now.
	Unpause(domain uint16) error
	// Track and Untrack say whether dirty page tracking is to be ended should the
	// recorder die.
	Track(domain uint16) error
	Untrack(domain uint16) error
}

// Backend is a device whose requests may still change memory while the guest is
// paused.
type Backend interface {
	// InFlight is how many requests were begun and have not ended.
	InFlight() uint32
}

// Tracking is how an incremental snapshot finds what changed.
type Tracking string

// The ways to find what changed.
const (
	// TrackHash reads every page and compares hashes. It misses nothing.
	TrackHash Tracking = "hash"
	// TrackLogDirty asks Xen which pages the guest wrote, and adds those that
	// backends may write. Only HVM and PVH guests have it; others fall back to hash.
	TrackLogDirty Tracking = "logdirty"
)

// GuestType is what kind of domain it is, as xl calls it.
type GuestType string

// The guest types.
const (
	PV  GuestType = "pv"
	PVH GuestType = "pvh"
	HVM GuestType = "hvm"
)

// Defaults of Config.
const (
	DefaultPauseBudget = 500 * time.Millisecond
	DefaultQuietWait   = 200 * time.Millisecond
	DefaultAuditEvery  = 16
	DefaultStash       = 64 << 20
	DefaultRetry       = 5 * time.Second
)

// Config says what to record and how. Xen, Pauser, Clock and Domain must be set.
type Config struct {
	Xen    *hypercall.Xen
	Pauser Pauser
	Clock  *capture.Clock
	Domain uint16
	Type   GuestType // as the toolstack calls it; "" asks Xen, which cannot tell PVH from HVM
	Epoch  uint32    // boot epoch within the recording

	Automatic   int           // snapshots to take unasked, the first at once; negative: no limit
	Every       time.Duration // between these; 0: only the first
	Retry       time.Duration // after which one that failed is tried again, later twice as long each time; DefaultRetry
	PauseBudget time.Duration // longest pause; DefaultPauseBudget
	QuietWait   time.Duration // longest wait for backends within the pause; DefaultQuietWait
	Tracking    Tracking      // TrackHash when empty
	TrackWait   time.Duration // how long the first snapshot waits for an earlier recording to give tracking up
	AuditEvery  int           // tracked snapshots between full comparisons; DefaultAuditEvery, negative: never
	StashBytes  int           // memory for pages read during the pause; DefaultStash
	AllowPoD    bool          // read populate-on-demand guests, though that can crash them
	// Backends lists the devices to ask whether they are quiet; with none it is never
	// known. May be nil.
	Backends func() []Backend
	// Failed is told of a snapshot that was not asked for and failed, and after which
	// time it is tried again. May be nil.
	Failed func(reason error, again time.Duration)
	// Describe returns blobs that belong to each snapshot by name, such as the
	// guest's part of xenstore, and why there are not more; it is called while the guest
	// runs, in a goroutine of its own. May be nil.
	Describe func(context.Context) ([]Blob, error)
	// Savers says whether another tool that uses dirty page tracking is running; nil
	// looks for libxl-save-helper in /proc.
	Savers func() bool
}

// Blob is one named attachment.
type Blob struct {
	Name string
	Data []byte
}

func (c *Config) setDefaults() {
	if c.PauseBudget == 0 {
		c.PauseBudget = DefaultPauseBudget
	}
	if c.Retry == 0 {
		c.Retry = DefaultRetry
	}
	if c.QuietWait == 0 {
		c.QuietWait = DefaultQuietWait
	}
	if c.Tracking == "" {
		c.Tracking = TrackHash
	}
	if c.AuditEvery == 0 {
		c.AuditEvery = DefaultAuditEvery
	}
	if c.StashBytes == 0 {
		c.StashBytes = DefaultStash
	}
	if c.Savers == nil {
		c.Savers = saversRunning
	}
}
