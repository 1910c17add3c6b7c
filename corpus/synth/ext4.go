package synth

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xentape/xentape/format"
)

// ext4 is a file system that mke2fs makes and debugfs changes: their library writes
// what a kernel without a journal would.
type ext4 struct {
	image string // file
	work  string // folder for what debugfs reads
	now   []byte // the image's bytes as last seen
}

// newExt4 makes the file system of a disk, with its tree, as it is at time t.
func newExt4(dir, name string, d Disk, t time.Time) (*ext4, error) {
	for _, tool := range []string{"mke2fs", "debugfs"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("disk %s: %s is needed to make an ext4 (package e2fsprogs): %w", name, tool, err)
		}
	}
	e := &ext4{image: filepath.Join(dir, name+".img"), work: dir}
	if err := os.WriteFile(e.image, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(e.image, d.Size); err != nil {
		return nil, err
	}
	// Fixed identities and times, so that the same scenario gives the same bytes; no
	// journal, which debugfs would not write.
	cmd := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-O", "^has_journal", "-L", name,
		"-U", "6b1f7c9e-0000-4000-8000-000000000001", "-E", "hash_seed=6b1f7c9e-0000-4000-8000-000000000002,lazy_itable_init=0,root_owner=0:0", e.image)
	stamp := strconv.FormatInt(t.Unix(), 10)
	cmd.Env = append(os.Environ(), "E2FSPROGS_FAKE_TIME="+stamp, "SOURCE_DATE_EPOCH="+stamp, "MKE2FS_CONFIG=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	made := map[string]bool{"/": true}
	for _, p := range slices.Sorted(maps.Keys(d.Tree)) {
		if err := e.plant(p, d.Tree[p], t, made); err != nil {
			return nil, fmt.Errorf("disk %s: %w", name, err)
		}
	}
	var err error
	e.now, err = os.ReadFile(e.image)
	return e, err
}

// plant makes a file or folder, and the folders above it.
func (e *ext4) plant(p, text string, t time.Time, made map[string]bool) error {
	folder := path.Dir(p)
	if strings.HasSuffix(p, "/") {
		folder = path.Clean(p)
	}
	var above []string
	for f := folder; !made[f]; f = path.Dir(f) {
		above, made[f] = append(above, f), true
	}
	for _, f := range slices.Backward(above) {
		if err := e.do(t, "mkdir "+quote(f)); err != nil {
			return err
		}
	}
	if strings.HasSuffix(p, "/") {
		return nil
	}
	return e.create(t, p, []byte(text), 0o644, 0)
}

// do runs debugfs commands at time t.
func (e *ext4) do(t time.Time, commands ...string) error {
	var script bytes.Buffer
	fmt.Fprintf(&script, "set_current_time @%d\n", t.Unix())
	for _, c := range commands {
		fmt.Fprintln(&script, c)
	}
	cmd := exec.Command("debugfs", "-w", "-f", "-", e.image)
	cmd.Stdin = &script
	cmd.Env = append(os.Environ(), "DEBUGFS_PAGER=cat", "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("debugfs: %w: %s", err, out)
	}
	// debugfs ends with 0 whatever its commands did; what they say is prefixed.
	for _, c := range commands {
		verb, _, _ := strings.Cut(c, " ")
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, verb+": ") || strings.Contains(line, "File not found by ext2_lookup") {
				return fmt.Errorf("debugfs %s: %s", c, strings.TrimSpace(line))
			}
		}
	}
	return nil
}

// quote makes a path one word to debugfs.
func quote(p string) string { return `"` + strings.ReplaceAll(p, `"`, `""`) + `"` }

func (e *ext4) create(t time.Time, p string, content []byte, mode, owner uint32) error {
	source := filepath.Join(e.work, "content")
	if err := os.WriteFile(source, content, 0o644); err != nil {
		return err
	}
	q := quote(p)
	return e.do(t, "write "+quote(source)+" "+q,
		fmt.Sprintf("set_inode_field %s mode 0%o", q, 0o100000|mode), fmt.Sprintf("set_inode_field %s uid %d", q, owner),
		fmt.Sprintf("set_inode_field %s gid %d", q, owner))
}

// change carries out a step and returns the writes it takes, in blocks.
func (e *ext4) change(t time.Time, f *FileEvent) ([]format.DiskRequest, error) {
	q, stamp := quote(f.Path), "@"+strconv.FormatInt(t.Unix(), 10)
	touched := func(p, field string) string { return "set_inode_field " + p + " " + field + " " + stamp }
	var err error
	switch f.Do {
	case "create":
		mode := f.Mode
		if mode == 0 {
			mode = 0o644
		}
		err = e.create(t, f.Path, append([]byte(f.Text), make([]byte, f.Zeroes)...), mode, f.Owner)
	case "mkdir":
		err = e.do(t, "mkdir "+q)
	case "delete":
		err = e.do(t, touched(q, "ctime"), "rm "+q)
	case "rename":
		err = e.do(t, "link "+q+" "+quote(f.To), "unlink "+q, touched(quote(f.To), "ctime"))
	case "link":
		err = e.do(t, "link "+q+" "+quote(f.To), "set_inode_field "+q+" links_count 2", touched(q, "ctime"))
	case "symlink":
		err = e.do(t, "symlink "+q+" "+quote(f.To))
	case "chmod":
		err = e.do(t, fmt.Sprintf("set_inode_field %s mode 0%o", q, 0o100000|f.Mode), touched(q, "ctime"))
	case "chown":
		err = e.do(t, fmt.Sprintf("set_inode_field %s uid %d", q, f.Owner), touched(q, "ctime"))
	case "utime":
		err = e.do(t, fmt.Sprintf("set_inode_field %s mtime @%d", q, f.Time.Unix()), touched(q, "ctime"))
	case "overwrite":
		err = e.overwrite(t, f)
	default:
		err = fmt.Errorf("file %s: no step %q", f.Path, f.Do)
	}
	if err == nil {
		err = e.touchFolders(t, f)
	}
	if err != nil {
		return nil, err
	}
	return e.differences()
}

// touchFolders sets the times of the folders in which names came or went, as a kernel
// does and debugfs does not.
func (e *ext4) touchFolders(t time.Time, f *FileEvent) error {
	var folders []string
	switch f.Do {
	case "create", "mkdir", "delete":
		folders = []string{path.Dir(f.Path)}
	case "rename":
		folders = []string{path.Dir(f.Path), path.Dir(f.To)}
	case "link", "symlink":
		folders = []string{path.Dir(f.To)}
	}
	var commands []string
	for _, d := range folders {
		for _, field := range []string{"mtime", "ctime"} {
			commands = append(commands, fmt.Sprintf("set_inode_field %s %s @%d", quote(d), field, t.Unix()))
		}
	}
	if len(commands) == 0 {
		return nil
	}
	return e.do(t, commands...)
}

// overwrite puts a text over a file's first bytes; the file keeps its length.
func (e *ext4) overwrite(t time.Time, f *FileEvent) error {
	cmd := exec.Command("debugfs", "-R", "bmap "+quote(f.Path)+" 0", e.image)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("debugfs bmap: %w", err)
	}
	block, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil || block <= 0 || len(f.Text) > format.PageSize {
		return errors.Join(fmt.Errorf("overwrite %s: block %q, %d bytes: want a file with content, and a text of one block at most", f.Path, out, len(f.Text)), err)
	}
	i, err := os.OpenFile(e.image, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = i.WriteAt([]byte(f.Text), block*format.PageSize)
	if err := errors.Join(err, i.Close()); err != nil {
		return err
	}
	q := quote(f.Path)
	return e.do(t, fmt.Sprintf("set_inode_field %s mtime @%d", q, t.Unix()), fmt.Sprintf("set_inode_field %s ctime @%d", q, t.Unix()))
}

// differences returns the blocks that changed since the last look as writes, runs of
// neighbours as one.
func (e *ext4) differences() ([]format.DiskRequest, error) {
	next, err := os.ReadFile(e.image)
	if err != nil {
		return nil, err
	}
	var out []format.DiskRequest
	for at := 0; at+format.PageSize <= len(next); at += format.PageSize {
		block := next[at : at+format.PageSize]
		if bytes.Equal(block, e.now[at:at+format.PageSize]) {
			continue
		}
		if k := len(out) - 1; k >= 0 && out[k].Offset+out[k].Length == uint64(at) && out[k].Length < format.MaxDiskData {
			out[k].Data = append(out[k].Data, block...)
			out[k].Length += format.PageSize
			continue
		}
		out = append(out, format.DiskRequest{Op: format.DiskWrite, Flags: format.DiskApplied, Offset: uint64(at), Length: format.PageSize, Data: bytes.Clone(block)})
	}
	e.now = next
	return out, nil
}
