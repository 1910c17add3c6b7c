package files

import "github.com/xentape/xentape/analyze/internal/fs"

// The types of analyze/internal/fs that callers meet.
type (
	// Range is a run of bytes of a file.
	Range = fs.Range
	// Content is a file's bytes at one moment.
	Content = fs.Content
	// Attr is what an inode says of itself.
	Attr = fs.Attr
	// UnknownError says that bytes were never captured: they are not zeros.
	UnknownError = fs.UnknownError
	// Scratch is where written blocks go that should not stay on the heap.
	Scratch = fs.Scratch
)
