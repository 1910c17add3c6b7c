package fs

// Told is one operation as a filesystem's own record of changes names it, apart
// from the metadata that shows it: the change journal of NTFS. It may name what the
// metadata never showed, and it may reach the disk before or after that.
type Told struct {
	Op         ToldOp
	Source     string // what names it, the basis of its time: "usn"
	Number     uint64 // its place among what that source tells
	ID         ID
	Generation uint64
	Type       Type
	Parent     ID
	Name       string
	OldParent  ID // of a rename
	OldName    string
	Time       int64   // guest clock, ns since 1970; NoTime where not recorded
	Reason     string  // in the source's own terms
	Ranges     []Range // of a write, where they are recorded
	At         Stamp
}

// ToldOp is what was told of.
type ToldOp uint8

// The operations that can be told of.
const (
	ToldCreate ToldOp = iota + 1
	ToldDelete        // of the last name
	ToldRename
	ToldLink // a name came or went, the file stayed
	ToldWrite
	ToldTruncate
	ToldInfo // timestamps or flags were set
)
