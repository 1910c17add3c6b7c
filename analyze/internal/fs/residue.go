package fs

// Residual is a filesystem whose directories are indexes beside the records of its
// files, or keep what was taken out of them.
type Residual interface {
	// Residue visits, directory by directory, the names that the tree does not bear
	// out. An error is what could not be looked at; the rest has been visited.
	Residue(visit func(Residue)) error
}

// Residue is a name in a directory that the tree does not bear out.
type Residue struct {
	Kind                       ResidueKind
	Dir                        ID // the directory
	Name                       string
	Child                      ID     // zero where only the name is left
	Generation                 uint64 // of the child, as the name has it
	Type                       Type
	Size                       uint64 // this and the times as the directory last had them
	Off                        uint64 // where the entry is on the volume; 0 when there is none
	ATime, MTime, CTime, BTime int64
}

// ResidueKind says what is wrong with a name.
type ResidueKind string

// The kinds of residue.
const (
	// ResidueRemoved: behind what the directory lists. The name was removed or
	// changed, or its file moved away, at a time that is not known.
	ResidueRemoved ResidueKind = "removed"
	// ResidueUnlisted: the file has the name, the directory does not list it. Who asks
	// the guest for the directory does not see the file.
	ResidueUnlisted ResidueKind = "unlisted"
	// ResidueDangling: the directory lists the name, its file does not have it.
	ResidueDangling ResidueKind = "dangling"
)
