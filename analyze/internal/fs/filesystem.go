package fs

import "io"

// Device is a volume as bytes. ReadAt returns *UnknownError, with the known
// part of p filled and the rest zero, when any byte was never captured.
type Device interface {
	io.ReaderAt
	Size() uint64
	// Known reports whether every byte of the range is known.
	Known(off, n uint64) bool
}

// Options are what a filesystem constructor can be told.
type Options struct {
	// View chooses between what the guest saw and what a mount after power loss
	// would show of the same bytes.
	View View
	// Companion opens the device that holds an external journal or log, by the
	// UUID the superblock names; nil when there is none.
	Companion func(uuid [16]byte) Device
}

// View is one of the two ways to look at a disk with a journal.
type View uint8

// The views.
const (
	ViewLive  View = iota // committed metadata and every write so far: what the guest saw
	ViewCrash             // the device alone, its journal replayed as the kernel would at mount
)

// Info says what a volume holds.
type Info struct {
	Type      string // "ext4", "ext3", "ext2", "xfs", "btrfs", "ntfs", "vfat", "exfat"
	UUID      string // as blkid prints it
	Label     string
	BlockSize uint64 // bytes
	Size      uint64 // bytes the filesystem claims
	Root      ID
	Journaled bool     // changes become true at a commit record
	Apart     bool     // they do not, and names and inodes are written apart from one another
	Features  []string // names of the features set, the filesystem's own terms
	// Lag is how long before the write that shows it a change may have been made, ns.
	// 0: commits follow one another, and a change is in the one after it or, made
	// while that was under way, in the next.
	Lag       int64
	Grain     int64 // to what its timestamps are cut, ns; 0: finer than a clock tick
	Tells     bool  // it keeps a record of changes of its own, see Told; known after Crawl
	Places    bool  // it numbers files by the place of their entry: a number is soon another's (FAT)
	LocalTime bool  // timestamps are in the guest's unknown time zone (FAT)
}

// WritebackLag is Linux's default age at which what was changed in memory is written
// back (vm.dirty_expire_centisecs, Documentation/admin-guide/sysctl/vm.rst) and the
// interval at which that is looked for (dirty_writeback_centisecs).
const WritebackLag = int64(35e9)

// Op is what a write does to its range.
type Op uint8

// The operations.
const (
	OpWrite   Op = iota // Data is stored
	OpZero              // zeros are stored
	OpDiscard           // the guest no longer needs the range; it reads as zeros
	OpUnknown           // something was stored, what is not known (payload not captured, gap)
)

// Write is one completed write, split so that it lies within the volume.
type Write struct {
	Stamp
	Op   Op
	Off  uint64 // bytes from the start of the volume
	Len  uint64 // len(Data) for OpWrite
	Data []byte // valid during the call only
}

// Filesystem follows one volume. See the package comment for the protocol.
type Filesystem interface {
	Info() Info
	// Crawl visits everything live. It may be called again at any time (the
	// engine's self-check opens a second instance on the same device and compares).
	Crawl(v Visitor) error
	// Prepare is called before w is stored in the device, Apply after.
	Prepare(w *Write, s Sink)
	Apply(w *Write, s Sink)
	// Settle reports what has been gathered and not committed, where the
	// filesystem has no commit record of its own.
	Settle(at Stamp, s Sink)
	// Stat reads an inode now. ErrNotFound when it is free.
	Stat(id ID) (Attr, error)
	// Xattrs reads its extended attributes, sorted by name.
	Xattrs(id ID) ([]Xattr, error)
	// Content opens the bytes of a file. What it returns is valid until the next
	// Apply.
	Content(id ID) (Content, error)
}

// Journaler is a filesystem whose journal may be on a device of its own, the one that
// Options.Companion gave.
type Journaler interface {
	// Journal is called for every write to that device, once it is stored there.
	Journal(w *Write, s Sink)
}

// Keeper is a filesystem that holds on to names of what it cannot read any more, or not
// yet: they are not known to be gone, and a crawl that begins now does not find them.
type Keeper interface {
	Kept() []Dirent
}

// Content is a file's bytes at one moment. ReadAt gives io.EOF at Size, zeros in
// holes and unwritten extents, and *UnknownError for bytes never captured.
type Content interface {
	io.ReaderAt
	Size() uint64
	// Extents lists where the bytes are, ascending by Logical; holes are left out.
	Extents() []Extent
}

// Extent is one run of a file. Lengths are bytes.
type Extent struct {
	Logical  uint64 // offset in the file
	Physical uint64 // offset in the volume; meaningless when Inline
	Length   uint64
	State    ExtentState
}

// ExtentState qualifies an extent.
type ExtentState uint8

// The states of an extent.
const (
	ExtentData       ExtentState = iota
	ExtentUnwritten              // allocated, reads as zeros
	ExtentInline                 // stored in the inode or a tree leaf
	ExtentCompressed             // Physical is where the compressed bytes start
	ExtentUnknown                // the mapping could not be read: content unknown
)

// Visitor receives a crawl.
type Visitor interface {
	Inode(a Attr)
	Link(d Dirent)
	Problem(p Problem)
}

// Sink receives what a filesystem learns from writes.
type Sink interface {
	// Touch announces that the content of a file is about to change. Calling it
	// again before the next Commit that mentions the file costs nothing.
	Touch(id ID)
	Commit(tx *Tx)
	Problem(p Problem)
}

// Tx is a set of changes that became true together.
type Tx struct {
	Number uint64 // jbd2 tid, log sequence number, generation; 0 where there is none
	Basis  Basis  // what made it true
	Time   int64  // guest wall clock of the commit, ns since 1970; NoTime where not recorded
	First  Stamp  // the first record that carries it
	Last   Stamp  // the record that completed it
	// Incomplete says why part of it could not be read; empty when all was.
	Incomplete string
	Inodes     []InodeChange // ascending by ID, one per inode
	Removed    []Dirent      // sorted by parent, name, child
	Added      []Dirent
	Data       []DataChange // ascending by ID
	Told       []Told       // what else names changes, in its own order
}

// Basis is what a transaction's truth rests on.
type Basis string

// The bases of a transaction.
const (
	BasisCommit     Basis = "commit"      // a journal or log commit record
	BasisFastCommit Basis = "fast-commit" // an ext4 fast commit tail
	BasisTreeLog    Basis = "tree-log"    // a btrfs tree log: of what was synced alone
	BasisWrite      Basis = "write"       // metadata written in place, no journal
)

// InodeChange is an inode before and after. An Attr with Live false stands for
// free; in New it may carry the CTime of the removal where the filesystem leaves
// it in the freed inode. Reuse of a number within one transaction shows as two live Attrs
// with different generations.
type InodeChange struct {
	ID       ID
	Old, New Attr
	// Was is the number the same object had before, where a filesystem numbers
	// objects by their place (FAT) and this one moved; Old is then what it was
	// under that number, which has no change of its own. Zero otherwise.
	Was ID
	// Displaced, where Was is set, is what had this number before and is no more; not live
	// where there was none, or it moved too.
	Displaced Attr
	// Xattrs before and after, only when they differ.
	OldXattrs, NewXattrs []Xattr
	// OldUnknown: the base did not hold the inode, Old is not what it was.
	OldUnknown bool
	// Content: the mapping of its bytes changed (extents added, dropped, punched,
	// converted), so content may differ even without Data.
	Content bool
	// Of what Content is about, where the size stayed, bytes that were on the disk already
	// in blocks marked unwritten, and bytes that read as zeros now (see Shown, Zeroed).
	Shown, Zeroed []Range
}

// DataChange is file content that was written.
type DataChange struct {
	ID          ID
	Ranges      []Range // bytes of the file, sorted, merged
	First, Last Stamp   // of the writes themselves
	// Same: they are the bytes that were there, in other blocks, and nothing dates them.
	Same bool
}

// Problem is something that limits or contradicts what is reported.
type Problem struct {
	Kind ProblemKind
	At   Stamp  // zero during a crawl
	ID   ID     // zero when not about one inode
	Off  uint64 // bytes from the start of the volume
	Len  uint64
	Tx   uint64
	Text string // lower case, one line
}

// ProblemKind sorts problems.
type ProblemKind uint8

// The kinds of problem.
const (
	ProblemUnknown     ProblemKind = iota // bytes needed were never captured
	ProblemCorrupt                        // structure or checksum wrong
	ProblemUnsupported                    // a feature not implemented: part was not looked at
	ProblemTamper                         // metadata changed beneath the filesystem, not through its journal
	ProblemTorn                           // a transaction whose blocks do not match their checksums
)

// EndOfTape is the Stamp.Time of the last Settle: nothing more will come.
const EndOfTape = int64(^uint64(0) >> 1)
