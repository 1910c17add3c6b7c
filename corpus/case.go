package corpus

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"gopkg.in/yaml.v3"
)

// CaseFile is the name of the file that makes a folder a case.
const CaseFile = "case.yaml"

// Case is one recording with its origin and what is expected of it. The fields
// are those of case.yaml.
type Case struct {
	Name    string `yaml:"name"`
	Summary string `yaml:"summary"`
	Origin  string `yaml:"origin"`           // where the recording comes from
	Licence string `yaml:"licence"`          // under which it may be passed on
	Recipe  string `yaml:"recipe,omitempty"` // the command or file that makes it again
	Tape    Tape   `yaml:"tape"`
	Covers  Covers `yaml:"covers,omitempty"`
	// Kept names the findings a tape was minimized to: the rest of what happened is
	// not on it.
	Kept  []string `yaml:"kept,omitempty"`
	Truth string   `yaml:"truth,omitempty"` // folder with the ground truth, relative to the case
	// Expected maps an output ("ps", "files", "conns", "story") to its file.
	Expected map[string]string `yaml:"expected"`

	Dir string `yaml:"-"` // the case's folder
}

// Tape names the recording of a case: a file beside case.yaml, or one that is
// fetched by whoever runs the corpus and recognised by its hash.
type Tape struct {
	File   string `yaml:"file"`
	SHA256 string `yaml:"sha256"`
	URL    string `yaml:"url,omitempty"` // where to get it when the file is not here; never fetched by xentape
}

// Covers says what a case stands for, for `xentape corpus list`.
type Covers struct {
	Guest      string   `yaml:"guest,omitempty"`      // pv, pvh, hvm, bare
	Kernel     string   `yaml:"kernel,omitempty"`     // release of the guest's kernel
	Filesystem string   `yaml:"filesystem,omitempty"` // ext4, xfs, …
	Attack     []string `yaml:"attack,omitempty"`     // what is in it, in words or ATT&CK ids
}

// Load finds the cases below dir, sorted by name.
func Load(dir string) ([]*Case, error) {
	var all []*Case
	seen := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || d.Name() != CaseFile {
			return nil
		}
		c, err := LoadCase(filepath.Dir(path))
		if err != nil {
			return err
		}
		if other, dup := seen[c.Name]; dup {
			return fmt.Errorf("%s: name %q is taken by %s", path, c.Name, other)
		}
		seen[c.Name] = path
		all = append(all, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no %s in it or below: nothing to verify", dir, CaseFile)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// LoadCase reads the case in one folder. Unknown fields are errors: a misspelt
// expectation would otherwise expect nothing.
func LoadCase(dir string) (*Case, error) {
	path := filepath.Join(dir, CaseFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &Case{Dir: dir}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(c); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: is empty", path)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case c.Name == "":
		err = errors.New("name is missing")
	case c.Tape.File == "" || !filepath.IsLocal(c.Tape.File):
		err = fmt.Errorf("tape.file %q: want a path inside the case's folder", c.Tape.File)
	case len(c.Tape.SHA256) != 2*sha256.Size:
		err = errors.New("tape.sha256 is missing: a case is pinned to its tape")
	case len(c.Expected) == 0:
		err = errors.New("expected is empty: the case would pass whatever the analyzers say")
	}
	for out, file := range c.Expected {
		if !filepath.IsLocal(file) {
			err = fmt.Errorf("expected.%s %q: want a path inside the case's folder", out, file)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Save writes case.yaml.
func (c *Case) Save() error {
	b, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.Dir, CaseFile), b, 0o644)
}

// TapePath is where the tape is.
func (c *Case) TapePath() string { return filepath.Join(c.Dir, c.Tape.File) }

// Outputs lists the names of the expected outputs, sorted.
func (c *Case) Outputs() []string {
	var names []string
	for n := range c.Expected {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// checkTape compares the tape with its pinned hash.
func (c *Case) checkTape() error {
	got, err := sumFile(c.TapePath())
	if errors.Is(err, fs.ErrNotExist) && c.Tape.URL != "" {
		return fmt.Errorf("%s is not here: get it from %s (sha256 %s)", c.TapePath(), c.Tape.URL, c.Tape.SHA256)
	}
	if err != nil {
		return err
	}
	if got != c.Tape.SHA256 {
		return fmt.Errorf("%s: sha256 is %s, the case is pinned to %s", c.TapePath(), got, c.Tape.SHA256)
	}
	return nil
}
