// Command repack writes a tape again, record by record, compressed as hard as the
// zstd program can: what a recorder has no time for, and a repository is glad of.
//
//	repack TAPE OUT
//
// Records keep their numbers, times and order, snapshots their pages and
// conditions; the chunks, and so the tree and its root, are new, and there is no
// signature. It refuses damaged, unfinished and sealed tapes.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/xentape/xentape/corpus/rewrite"
	"github.com/xentape/xentape/format"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: repack TAPE OUT")
		os.Exit(2)
	}
	err := rewrite.File(os.Args[1], os.Args[2], rewrite.Options{ChunkSize: format.MaxChunk / 2,
		Compressor: func() (format.Compressor, error) { return program{}, nil }})
	if err != nil {
		fmt.Fprintln(os.Stderr, "repack:", err)
		os.Exit(1)
	}
}

// program compresses with the zstd program.
type program struct{}

// EncodeAll implements format.Compressor. Where the program fails it gives back
// more than it was given, and the chunk is stored as it is.
func (program) EncodeAll(src, dst []byte) []byte {
	// The size, known before, keeps the window within what readers allow.
	cmd := exec.Command("zstd", "-q", "--ultra", "-20", "--no-check", "--no-progress", "--stream-size="+strconv.Itoa(len(src)), "-c")
	cmd.Stdin = bytes.NewReader(src)
	out, err := cmd.Output()
	if err != nil {
		return append(append(dst, src...), 0)
	}
	return append(dst, out...)
}
