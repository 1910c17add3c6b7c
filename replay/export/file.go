package export

import "github.com/xentape/xentape/format/rebuild"

// File is what an exporter writes to; *os.File is one.
type File = rebuild.File

// cursor writes one after the other to a File.
type cursor struct {
	f   File
	off int64
}

func (c *cursor) Write(p []byte) (int, error) {
	n, err := c.f.WriteAt(p, c.off)
	c.off += int64(n)
	return n, err
}
