package files

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Entry is one path of a listing: what stat(2), readlink(2) and listxattr(2)
// would say of it, and the hash of its content.
type Entry struct {
	Path string `json:"path"`
	// PathHex is the path's bytes in hexadecimal where they are no UTF-8.
	PathHex    string `json:"path_hex,omitempty"`
	Type       string `json:"type"`
	Inode      uint64 `json:"inode"`
	Subvolume  uint64 `json:"subvolume,omitempty"`
	Generation uint64 `json:"generation,omitempty"`
	Disk       string `json:"disk"`
	Volume     string `json:"volume"`
	Filesystem string `json:"filesystem"`
	UUID       string `json:"fs_uuid"`
	Mode       Mode   `json:"mode"`
	UID        uint32 `json:"uid"`
	GID        uint32 `json:"gid"`
	Links      uint32 `json:"links"`
	Size       uint64 `json:"size"`
	Rdev       uint32 `json:"rdev,omitempty"`
	Target     string `json:"target,omitempty"`
	ATime      Time   `json:"atime"`
	MTime      Time   `json:"mtime"`
	CTime      Time   `json:"ctime"`
	BTime      Time   `json:"crtime"`
	SHA256     string `json:"sha256,omitempty"`
	// Xattrs by name; the values as the guest's getxattr(2) gives them.
	Xattrs map[string][]byte `json:"xattrs,omitempty"`
	// Unknown says why a part of this could not be read; empty when all could.
	Unknown string `json:"unknown,omitempty"`
}

// List visits every path of every volume, or of the one named, in order. With
// hash, content is read.
func (t *Tree) List(volume string, hash bool, visit func(*Entry) error) error {
	for _, name := range t.Volumes() {
		if volume != "" && volume != name {
			continue
		}
		err := t.Walk(name, func(f File) error {
			e := t.entry(&f, hash)
			return visit(&e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) entry(f *File, hash bool) Entry {
	v, _ := t.volume(f.Volume)
	info := v.fs.Info()
	e := Entry{
		Path: f.Path, PathHex: hexOf(f.Path), Type: f.Type.String(), Inode: f.ID.Num, Subvolume: f.ID.Space, Generation: f.Generation,
		Disk: t.disk, Volume: f.Volume, Filesystem: info.Type, UUID: info.UUID,
		Mode: Mode{f.Mode, true}, UID: f.UID, GID: f.GID, Links: f.Links, Size: f.Size, Rdev: f.Rdev, Target: f.Target,
		ATime: Time(f.ATime), MTime: Time(f.MTime), CTime: Time(f.CTime), BTime: Time(f.BTime),
	}
	if !f.Live {
		e.Unknown = "the inode could not be read"
		return e
	}
	xs, err := t.Xattrs(*f)
	if err != nil {
		e.Unknown = err.Error()
	}
	for _, x := range xs {
		if e.Xattrs == nil {
			e.Xattrs = map[string][]byte{}
		}
		e.Xattrs[x.Name] = x.Value
	}
	if hash && f.Type == fs.TypeFile {
		if e.SHA256, err = t.Hash(*f); err != nil {
			e.Unknown = err.Error()
		}
	}
	return e
}

// Hash is the SHA-256 of a file's content as it stands, in hexadecimal.
func (t *Tree) Hash(f File) (string, error) {
	c, err := t.Open(f)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(c, 0, int64(c.Size())))
	if err == nil && uint64(n) != c.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("content: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
