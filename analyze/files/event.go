package files

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Op is what happened to a path.
type Op string

// The operations.
const (
	OpCreate   Op = "create"
	OpDelete   Op = "delete" // the last name went and the inode was freed
	OpRename   Op = "rename"
	OpLink     Op = "link"   // another name for an inode that had one
	OpUnlink   Op = "unlink" // a name went, the inode lives on
	OpSymlink  Op = "symlink"
	OpMkdir    Op = "mkdir"
	OpRmdir    Op = "rmdir"
	OpWrite    Op = "write"
	OpTruncate Op = "truncate" // the size was set, up or down
	OpChmod    Op = "chmod"
	OpChown    Op = "chown"
	OpUtime    Op = "utime" // timestamps were set, not earned
	OpSetxattr Op = "setxattr"
)

// makes is the operation that makes a file of a type.
func makes(t fs.Type) Op {
	switch t {
	case fs.TypeDir:
		return OpMkdir
	case fs.TypeSymlink:
		return OpSymlink
	}
	return OpCreate
}

// Time is nanoseconds since 1970 UTC; it is written as RFC 3339 with all its
// digits, and as null when unknown.
type Time int64

// Unknown is the time nothing is known of.
const Unknown = Time(fs.NoTime)

// Known reports whether there is a time.
func (t Time) Known() bool { return t != Unknown }

// Go gives the time.Time in UTC.
func (t Time) Go() time.Time { return time.Unix(0, int64(t)).UTC() }

// String is RFC 3339 with all the digits there are, "" when unknown.
func (t Time) String() string {
	if !t.Known() {
		return ""
	}
	return t.Go().Format(time.RFC3339Nano)
}

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	if !t.Known() {
		return []byte("null"), nil
	}
	return json.Marshal(t.String())
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Unknown
		return nil
	}
	var g time.Time
	if err := json.Unmarshal(b, &g); err != nil {
		return err
	}
	*t = Time(g.UnixNano())
	return nil
}

// The bases of an event's interval.
const (
	BasisBirth  = "crtime" // the inode's creation time
	BasisChange = "ctime"  // the inode's change time
	BasisModify = "mtime"  // the inode's modification time
	BasisCommit = "commit" // only between two commits
	BasisWrite  = "write"  // only between block writes
	BasisUSN    = "usn"    // the time of its record in the change journal of NTFS
)

// Event is one operation on one path.
type Event struct {
	Op      Op     `json:"op"`
	Path    string `json:"path"`
	OldPath string `json:"old_path,omitempty"`
	// The bytes of the two in hexadecimal where they are no UTF-8.
	PathHex    string `json:"path_hex,omitempty"`
	OldPathHex string `json:"old_path_hex,omitempty"`
	Type       string `json:"type"`
	Inode      uint64 `json:"inode"`
	Subvolume  uint64 `json:"subvolume,omitempty"` // fs.ID.Space: btrfs subvolume, NTFS stream
	Generation uint64 `json:"generation,omitempty"`
	Disk       string `json:"disk"`
	Volume     string `json:"volume"`     // "xvda1", "vg0/root"
	Filesystem string `json:"filesystem"` // "ext4", "xfs", …
	UUID       string `json:"fs_uuid"`

	Size    *uint64       `json:"size,omitempty"`
	SizeOld *uint64       `json:"size_old,omitempty"`
	Mode    Mode          `json:"mode,omitzero"`
	ModeOld Mode          `json:"mode_old,omitzero"`
	UID     *uint32       `json:"uid,omitempty"`
	GID     *uint32       `json:"gid,omitempty"`
	UIDOld  *uint32       `json:"uid_old,omitempty"`
	GIDOld  *uint32       `json:"gid_old,omitempty"`
	Links   uint32        `json:"links,omitempty"`
	Target  string        `json:"target,omitempty"`
	Xattrs  []XattrChange `json:"xattrs,omitempty"`

	ATime Time `json:"atime"`
	MTime Time `json:"mtime"`
	CTime Time `json:"ctime"`
	BTime Time `json:"crtime"`

	// MTimeOld, as SHA256Old, is of what the path held before.
	MTimeOld *Time `json:"mtime_old,omitempty"`

	SHA256Old string     `json:"sha256_old,omitempty"`
	SHA256New string     `json:"sha256_new,omitempty"`
	Ranges    []fs.Range `json:"ranges,omitempty"`
	// Entropy in bits per byte, of the content before and of the ranges written.
	EntropyOld *float64 `json:"entropy_old,omitempty"`
	EntropyNew *float64 `json:"entropy_new,omitempty"`
	MagicOld   string   `json:"magic_old,omitempty"`
	MagicNew   string   `json:"magic_new,omitempty"`
	Diff       string   `json:"diff,omitempty"` // unified, of text
	// Blocks, with Options.Blocks, are hashes of the blocks written, by offset.
	Blocks []Block `json:"-"`
	// Shown: the ranges were written earlier, as the end of an earlier event, and were
	// behind the end of the file or read as zeros until now.
	Shown bool `json:"shown,omitempty"`

	// The interval holds the last operation that had this effect; earlier ones
	// that it replaced between two commits never reached the disk.
	TimeLower Time   `json:"time_lower"`
	TimeUpper Time   `json:"time_upper"`
	TimeBasis string `json:"time_basis"`

	// Reason is what the filesystem's own change journal gives, in its terms.
	Reason string `json:"reason,omitempty"`

	FirstRecord uint64 `json:"first_record"` // the tape records that show it
	LastRecord  uint64 `json:"last_record"`
	Observed    Time   `json:"observed"` // when the last of them was recorded
	Transaction uint64 `json:"transaction,omitempty"`
	// ReplacedInode had this path before, in the same transaction: old hash and
	// diff are against its content.
	ReplacedInode uint64   `json:"replaced_inode,omitempty"`
	Notes         []string `json:"notes,omitempty"`

	was, is *digest // content before and now; of what was written alone: part
	part    *digest

	sizeWas  uint64 // length of what SHA256Old is of
	whole    bool   // and that has no bytes that read as zeros, as what has yet to come does
	unearned bool   // written, and its modification time is long before that

	id    fs.ID
	vol   *volumeState
	class uint8
	told  uint64 // its place in the change journal, from 1; 0 where that does not name it
	since int64  // of one told late: what bounded it when the first half of it came; 0 unknown
	until Time   // of one that a name alone told: when that was recorded; 0 for all else
	by    Time   // where an end is known only to lie before this: its place among the others; 0 for all else
}

// weigh fills in what the event says of content, once that is counted.
func (e *Event) weigh() {
	if e.is != nil {
		e.SHA256New, e.MagicNew = e.is.sha(), e.is.magic()
	}
	if e.part != nil {
		e.EntropyNew = e.part.entropy()
	}
	if e.was != nil {
		e.sizeWas, e.whole = e.was.size, e.was.whole()
		e.SHA256Old, e.MagicOld, e.EntropyOld = e.was.sha(), e.was.magic(), e.was.entropy()
	}
	if e.was != nil && e.is != nil && e.was.text() != nil && e.is.text() != nil {
		e.Diff = unified(e.Path, e.was.text(), e.is.text())
	}
	e.was, e.is, e.part = nil, nil, nil
}

// hexOf gives the bytes of a name that JSON cannot hold, and nothing for others:
// names are bytes for the kernel, and two that differ must not read the same.
func hexOf(name string) string {
	if utf8.ValidString(name) {
		return ""
	}
	return hex.EncodeToString([]byte(name))
}

// XattrChange is one extended attribute before and after; nil for absent.
type XattrChange struct {
	Name string `json:"name"`
	Old  []byte `json:"old,omitempty"`
	New  []byte `json:"new,omitempty"`
}

// Mode is permission bits, written in octal as ls and chmod do. Zero is left
// out of the JSON: 0000 is written when set.
type Mode struct {
	Bits uint16
	Set  bool
}

// MarshalJSON implements json.Marshaler.
func (m Mode) MarshalJSON() ([]byte, error) {
	if !m.Set {
		return []byte("null"), nil
	}
	return []byte(fmt.Sprintf("%q", m.String())), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Mode) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*m = Mode{}
		return nil
	}
	m.Set = true
	_, err := fmt.Sscanf(string(b), "\"%o\"", &m.Bits)
	return err
}

// String is four octal digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", m.Bits) }

// IsZero leaves an unset mode out of the JSON.
func (m Mode) IsZero() bool { return !m.Set }
