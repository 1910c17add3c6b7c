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
	"slices"
	"strings"
)

// Outputs are what a new case expects when it does not say: every output that
// names findings.
var Outputs = []string{"conns", "files", "ps", "story"}

// Add makes a case in c.Dir out of the tape at from: the tape is copied, pinned
// by its hash, and what the analyzers say of it now becomes what is expected. A
// person reads those expectations before committing them. An existing case is
// not overwritten.
func Add(ctx context.Context, c *Case, from string, outputs []string, analyze Analyze) error {
	return add(ctx, c, outputs, analyze, func(to string) error { return copyFile(to, from) })
}

// AddMinimized makes a case as Add does, of the tape that m makes of the one at from.
// It expects these outputs, and those that hold the findings kept; c names those.
func AddMinimized(ctx context.Context, c *Case, from string, outputs []string, m *Minimizer) (r *Minimized, err error) {
	outputs = slices.Clone(outputs)
	for _, w := range m.Wanted {
		if !slices.Contains(outputs, w.Output) {
			outputs = append(outputs, w.Output)
		}
		c.Kept = append(c.Kept, strings.TrimSuffix(w.Output+":"+w.Text, ":"))
	}
	err = add(ctx, c, outputs, m.Analyze, func(to string) error {
		r, err = m.Run(ctx, from, to)
		return err
	})
	return r, err
}

// add makes a case of the tape that bring leaves in a new file, or nothing.
func add(ctx context.Context, c *Case, outputs []string, analyze Analyze, bring func(to string) error) (err error) {
	if _, err := os.Stat(filepath.Join(c.Dir, CaseFile)); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s: there is a case already: use update", c.Dir)
		}
		return err
	}
	if there, err := os.ReadDir(c.Dir); err == nil && len(there) > 0 {
		return fmt.Errorf("%s: is not empty: a case has a folder of its own", c.Dir)
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(c.Dir))
		}
	}()
	c.Tape.File = "tape.xtape"
	if err := bring(c.TapePath()); err != nil {
		return err
	}
	sum, err := sumFile(c.TapePath())
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

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
