package corpus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Outputs are what a new case expects when it does not say: every output that
// names findings.
var Outputs = []string{"conns", "files", "ps", "story"}

// Add makes a case in c.Dir out of the tape at from: the tape is copied, pinned
// by its hash, and what the analyzers say of it now becomes what is expected. A
// person reads those expectations before committing them. An existing case is
// not overwritten.
func Add(ctx context.Context, c *Case, from string, outputs []string, analyze Analyze) error {
	if _, err := os.Stat(filepath.Join(c.Dir, CaseFile)); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s: there is a case already: use update", c.Dir)
		}
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	c.Tape.File = "tape.xtape"
	sum, err := copyFile(c.TapePath(), from)
	if err != nil {
		return err
	}
	c.Tape.SHA256 = sum
	c.Expected = map[string]string{}
	for _, o := range outputs {
		c.Expected[o] = filepath.ToSlash(filepath.Join("expected", o+".jsonl"))
	}
	if _, err := Update(ctx, c, analyze); err != nil {
		return err
	}
	return c.Save()
}

func copyFile(dst, src string) (sum string, err error) {
	in, err := os.Open(src)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), in)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, out.Close())
}
