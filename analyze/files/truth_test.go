package files

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// manifestEntry is a line of man/cpNNNN.jsonl: what the guest's own tree said.
type manifestEntry struct {
	Path string            `json:"path"`
	T    string            `json:"t"`
	Mode uint16            `json:"mode"`
	UID  uint32            `json:"uid"`
	GID  uint32            `json:"gid"`
	Nl   uint32            `json:"nlink"`
	Ino  uint64            `json:"ino"`
	Size uint64            `json:"size"`
	MT   int64             `json:"mt"`
	CT   int64             `json:"ct"`
	Sha  string            `json:"sha"`
	Link string            `json:"link"`
	Dev  []uint32          `json:"dev"`
	X    map[string]string `json:"x"`
	// PH is the path in hexadecimal where it is no UTF-8.
	PH string `json:"ph"`
	// LH is the target of a symbolic link in hexadecimal, instead of Link.
	LH string `json:"lh"`
	// Stream: a named stream of NTFS, which ntfs-3g shows as an extended attribute: of its
	// hash there are 16 digits, its size is not told.
	Stream bool `json:"-"`
	// Err is how a kernel refused to read it: without T all of it, else its content,
	// attributes or names.
	Err string `json:"err"`
}

func readManifest(t testing.TB, name string) map[string]manifestEntry {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	out := map[string]manifestEntry{}
	for line := range strings.Lines(string(b)) {
		var m manifestEntry
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		if m.PH != "" {
			raw, err := hex.DecodeString(m.PH)
			require.NoError(t, err)
			m.Path = string(raw)
		}
		if m.LH != "" {
			raw, err := hex.DecodeString(m.LH)
			require.NoError(t, err)
			m.Link = string(raw)
		}
		out[m.Path] = m
	}
	require.NotEmpty(t, out)
	return out
}

func shaOf(t testing.TB, tree *Tree, f File) string {
	t.Helper()
	c, err := tree.Open(f)
	require.NoError(t, err)
	h := sha256.New()
	_, err = io.Copy(h, io.NewSectionReader(c, 0, int64(c.Size())))
	if err != nil {
		return err.Error()
	}
	return hex.EncodeToString(h.Sum(nil))
}

// compare returns how the tree differs from a manifest; empty when it does not.
func compare(t testing.TB, tree *Tree, want map[string]manifestEntry) []string {
	t.Helper()
	var bad []string
	add := func(path, what string) { bad = append(bad, what+" "+path) }
	seen := map[string]bool{}
	err := tree.Walk("", func(f File) error {
		m, ok := want[f.Path]
		if !ok {
			if !refused(want, f.Path) {
				add(f.Path, "extra")
			}
			return nil
		}
		seen[f.Path] = true
		if m.Err != "" && m.T == "" {
			return nil
		}
		typ := map[fs.Type]string{fs.TypeFile: "f", fs.TypeDir: "d", fs.TypeSymlink: "l", fs.TypeFIFO: "p", fs.TypeSocket: "s", fs.TypeCharDevice: "c", fs.TypeBlockDevice: "b"}[f.Type]
		switch {
		case f.ID.Num != m.Ino:
			add(f.Path, "inode")
		case typ != m.T:
			add(f.Path, "type "+typ)
		case f.Mode != m.Mode:
			add(f.Path, "mode")
		case f.UID != m.UID || f.GID != m.GID:
			add(f.Path, "owner")
		case f.Links != m.Nl:
			add(f.Path, fmt.Sprintf("links %d, not %d", f.Links, m.Nl))
		case m.T != "d" && f.Size != m.Size && !f.Encrypted && !m.Stream:
			add(f.Path, "size")
		case f.MTime != m.MT:
			add(f.Path, "mtime")
		case f.CTime != m.CT:
			add(f.Path, fmt.Sprintf("ctime %d, not %d,", f.CTime, m.CT))
		case m.Err != "":
		case f.Encrypted:
			// The manifest is of a guest that had the key.
		case m.T == "l" && f.Target != m.Link:
			add(f.Path, "target "+f.Target)
		case (m.T == "c" || m.T == "b") && !slices.Equal(m.Dev, []uint32{f.Rdev >> 8 & 0xfff, f.Rdev&0xff | f.Rdev>>12&0xfff00}):
			add(f.Path, fmt.Sprintf("device %#x, not %d,", f.Rdev, m.Dev))
		case m.T == "f" && (m.Sha == "" || !strings.HasPrefix(shaOf(t, tree, f), m.Sha)):
			add(f.Path, "sha256")
		}
		if m.Err != "" {
			return nil
		}
		xs, err := tree.Xattrs(f)
		if err != nil {
			add(f.Path, "xattrs "+err.Error())
		}
		if len(xs) != len(m.X) {
			add(f.Path, "xattr count")
		}
		for _, x := range xs {
			sum := sha256.Sum256(x.Value)
			if m.X[x.Name] != hex.EncodeToString(sum[:])[:16] {
				add(f.Path, "xattr "+x.Name)
			}
		}
		return nil
	})
	require.NoError(t, err)
	for p := range want {
		if !seen[p] {
			add(p, "missing")
		}
	}
	return bad
}

// refused reports whether a directory above could not be read by the kernel.
func refused(want map[string]manifestEntry, p string) bool {
	for p != "/" {
		if p = path.Dir(p); want[p].Err != "" {
			return true
		}
	}
	return false
}

// truth is the tree that the disk should show at a mark, by the guest's manifest. Content
// the guest may have had in its memory alone: what a mapping wrote to a file with inline
// data ext4 keeps in the page cache, sync(2) or not. So where the trace has what a kernel
// showed that mounted the same blocks as they lay (kernel/MARK.inplace.jsonl), that
// decides on content; cached is how many files it says otherwise of. Of a driver by FUSE it
// decides on everything: exfat-fuse keeps a file's entry in its memory while the file is
// open (exfat_put_node), and libfuse removes what was removed open when it hears of the
// close, which may be after the mark.
func truth(t testing.TB, dir, mark string, tree *Tree) (want map[string]manifestEntry, cached int) {
	t.Helper()
	want = readManifest(t, filepath.Join(dir, "man", mark+".jsonl"))
	shown := mountedAt(t, dir, mark+".inplace")
	fuse := slices.Contains([]string{"ntfs", "exfat", "vfat"}, tree.volumes[0].fs.Info().Type)
	for p, mounted := range shown {
		m, ok := want[p]
		require.True(t, ok || fuse, "%s %s: %s", dir, mark, p)
		if m.Sha != mounted.Sha {
			cached++
			m.Sha = mounted.Sha
			want[p] = m
		}
	}
	if fuse && shown != nil {
		want = shown
	}
	return ciphered(t, tree, driven(tree, want)), cached
}

// driven puts a FUSE driver's manifest into the disk's terms.
func driven(tree *Tree, want map[string]manifestEntry) map[string]manifestEntry {
	switch tree.volumes[0].fs.Info().Type {
	case "ntfs":
		return streams(lxModes(tree, want))
	case "exfat", "vfat":
		// Neither inode numbers nor owners, modes and times of change are on the disk, nor
		// a time of the root directory: they are the driver's.
		for p, m := range want {
			f, err := tree.Lookup("", p)
			if err != nil {
				continue
			}
			if m.Ino, m.Mode, m.UID, m.GID, m.CT = f.ID.Num, f.Mode, f.UID, f.GID, f.CTime; p == "/" {
				m.MT = f.MTime
			}
			if first := int64(4107542400e9); m.MT > first { // of March 2100, a leap year to exfat-fuse (LEAP_YEARS, libexfat/time.c)
				m.MT -= 86400e9
			}
			want[p] = m
		}
	}
	return want
}

// lxModes gives nodes of the Windows Subsystem for Linux the mode that is kept with them;
// ntfs-3g shows them without permissions (wsl_getattr, src/ntfs-3g.c).
func lxModes(tree *Tree, want map[string]manifestEntry) map[string]manifestEntry {
	for p, m := range want {
		f, err := tree.Lookup("", p)
		format := map[string]uint32{"p": 0x1000, "c": 0x2000, "b": 0x6000, "s": 0xc000}[m.T]
		if err != nil || format == 0 {
			continue
		}
		sum := sha256.Sum256(binary.LittleEndian.AppendUint32(nil, format|uint32(f.Mode)))
		if m.X["$LXMOD"] == hex.EncodeToString(sum[:])[:16] {
			m.Mode = f.Mode
			want[p] = m
		}
	}
	return want
}

// streams gives named streams paths of their own: ntfs-3g shows them as attributes user.*
// (streams_interface=xattr, its default; ntfs-3g(8)).
func streams(want map[string]manifestEntry) map[string]manifestEntry {
	out := map[string]manifestEntry{}
	for p, m := range want {
		for k, sum := range m.X {
			if name, ok := strings.CutPrefix(k, "user."); ok {
				x := m
				x.Path, x.T, x.Sha, x.X, x.Stream = p+":"+name, "f", sum, nil, true
				out[x.Path] = x
			}
		}
		m.X = maps.Clone(m.X)
		maps.DeleteFunc(m.X, func(k, _ string) bool { return strings.HasPrefix(k, "user.") })
		out[p] = m
	}
	return out
}

// mountedAt is what a kernel showed that mounted a trace's blocks as they were at a mark,
// nil where the trace does not have it. With journal replay it may differ from the guest's
// own tree: a block that was committed as metadata, as that of a file that outgrew its
// inode is (ext4_convert_inline_data_nolock, fs/ext4/inline.c), is put over what the file
// had written to it since.
func mountedAt(t testing.TB, dir, mark string) map[string]manifestEntry {
	t.Helper()
	name := filepath.Join(dir, "kernel", mark+".jsonl")
	if _, err := os.Stat(name); errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	return readManifest(t, name)
}

// beforeNow lets the kernel's times be: replaying a fast commit puts entries into
// directories as system calls would, replaying a tree log takes names from files, and it
// dates both by its own clock, at mount. And what a fast commit creates it gives one link
// (ext4_fc_replay_create, fs/ext4/fast_commit.c), a directory too, which has two: that is
// the kernel's slip and not what the guest had, nor what the tree here says.
func beforeNow(a *Analyzer, mounted map[string]manifestEntry) map[string]manifestEntry {
	for p, m := range mounted {
		if f, err := a.State().Lookup("", p); err == nil && m.T == "d" && m.MT > a.lastOp.Time {
			m.MT, m.CT = f.MTime, f.CTime
			mounted[p] = m
		} else if err == nil && m.T == "d" && m.CT > a.lastOp.Time && m.Nl == 1 && a.volumes[0].info.Type == "ext4" {
			m.Nl, m.CT = f.Links, f.CTime
			mounted[p] = m
		} else if err == nil && m.CT > a.lastOp.Time {
			m.CT = f.CTime
			mounted[p] = m
		}
	}
	return mounted
}

// ciphered gives the paths of a manifest the names that the disk has for them where it
// encrypts names: a path is known by the inodes on the way to it.
func ciphered(t testing.TB, tree *Tree, want map[string]manifestEntry) map[string]manifestEntry {
	t.Helper()
	encrypted, on := false, map[string][]string{}
	at := map[string]string{}
	require.NoError(t, tree.Walk("", func(f File) error {
		at[f.Path] = at[path.Dir(f.Path)] + fmt.Sprintf("/%d", f.ID.Num) // the root comes first
		on[at[f.Path]] = append(on[at[f.Path]], f.Path)
		encrypted = encrypted || f.Encrypted
		return nil
	}))
	if !encrypted {
		return want
	}
	out := map[string]manifestEntry{}
	for p, m := range want {
		key := ""
		for q := p; ; q = path.Dir(q) {
			key = fmt.Sprintf("/%d", want[q].Ino) + key
			if q == "/" {
				break
			}
		}
		if there := on[key]; len(there) > 0 {
			p, on[key] = there[0], there[1:] // which of several names of one inode is not told
		}
		m.Path = p
		out[p] = m
	}
	return out
}
