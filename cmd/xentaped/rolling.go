package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/disk"
	"github.com/xentape/xentape/capture/ring"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/format/rebuild"
)

// With "base: rolling" only a guest's first segment has images of its disks. What is
// given up of the ring is folded into images beside it, DIRECTORY/GUEST/base/
// DISK.after-TIME.img: each disk as it was at the end of segment TIME, so that with the
// segments that are left it can be rebuilt at any of their moments.
//
// An image is changed in its place. A service that dies meanwhile leaves it under its
// old name, and the segment in the ring: the next one makes the same changes again.

// image is a disk at the end of a segment.
type image struct {
	path  string
	disk  string
	after string // file name of the segment
}

func imagesIn(dir string) ([]image, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var out []image
	for _, e := range entries {
		if disk, after, ok := rebuild.ParseImageName(e.Name()); ok {
			out = append(out, image{filepath.Join(dir, e.Name()), disk, after})
		}
	}
	return out, err
}

func (r *recorderSet) imagesDir(guest string) string {
	return filepath.Join(r.config.Directory, guest, "base")
}

// fold puts what a segment, and those of the guest before it, had written into the
// images. What cannot be folded ends the images it concerns: the disks can be rebuilt
// again from the next segment on that has its own.
func (r *recorderSet) fold(last ring.Segment) {
	all, err := r.ring.Segments()
	for _, s := range all {
		if err == nil && s.Guest == last.Guest && !s.Start.After(last.Start) {
			err = r.foldOne(s)
		}
	}
	if err != nil {
		r.console.notef("%s: %v", last.Path, err)
	}
}

func (r *recorderSet) foldOne(s ring.Segment) error {
	dir, name := r.imagesDir(s.Guest), filepath.Base(s.Path)
	old, err := imagesIn(dir)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(old, func(i image) bool { return i.after >= name }) {
		return nil // was folded before
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	disks, done, err := disksOf(s.Path)
	defer done()
	errs := []error{err}
	for _, d := range disks {
		at := slices.IndexFunc(old, func(i image) bool { return i.disk == d.Def.Name })
		from := image{}
		if at >= 0 {
			from = old[at]
			old = slices.Delete(old, at, at+1)
		}
		if !d.Based() && (from.after == "" || d.Continues() != from.after) {
			old = append(old, from) // the disk was not followed from there on
			continue
		}
		if !d.Sealed() {
			err = fmt.Errorf("the content of %s is not kept: the recording was cut off", d.Def.Name)
			old, errs = append(old, from), append(errs, err)
			continue
		}
		if err := roll(dir, from, d); err != nil {
			errs = append(errs, err)
		}
	}
	for _, i := range old {
		if i.path != "" {
			errs = append(errs, os.Remove(i.path))
		}
	}
	if err = errors.Join(errs...); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.rebase[s.Guest] = true
	}
	return err
}

// disksOf opens a segment, which is closed by done, for its disks, each as it ended: one
// that came back meanwhile is as it was recorded last.
func disksOf(path string) (disks []*rebuild.Disk, done func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, func() {}, err
	}
	done = func() { f.Close() }
	info, err := f.Stat()
	if err != nil {
		return nil, done, err
	}
	r, err := format.Open(f, info.Size(), format.ReaderOptions{})
	if err != nil {
		return nil, done, fmt.Errorf("%s: %w", path, err)
	}
	all, err := rebuild.Disks(r, filepath.Base(path))
	for i, d := range all {
		if !slices.ContainsFunc(all[i+1:], func(later *rebuild.Disk) bool { return later.Def.Name == d.Def.Name }) {
			disks = append(disks, d)
		}
	}
	return disks, done, err
}

// roll makes an image of what a disk held at the end of a tape, out of the image that
// the tape goes on from, if the tape has none of its own. What cannot be had whole is
// removed: it would look like a disk.
func roll(dir string, from image, d *rebuild.Disk) error {
	work := from.path
	if d.Based() {
		work = filepath.Join(dir, "."+url.PathEscape(d.Def.Name)+".new")
		if err := os.Remove(work); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	err := writeImage(work, from.after, []*rebuild.Disk{d})
	if err != nil {
		err = errors.Join(fmt.Errorf("the content of %s is not kept: %w", d.Def.Name, err), os.Remove(work))
	} else {
		err = os.Rename(work, filepath.Join(dir, rebuild.ImageName(d.Def.Name, d.Tape())))
	}
	if from.path != "" && from.path != work {
		err = errors.Join(err, os.Remove(from.path))
	}
	return err
}

// writeImage has the file hold a disk as it is at the end of the last of some tapes, and
// sees it onto the disk.
func writeImage(path, before string, tapes []*rebuild.Disk) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	losses, err := rebuild.Chain(f, before, tapes, math.MaxInt64)
	if err == nil && len(losses) > 0 {
		err = errors.New(strings.Join(losses, "; "))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// keepImages puts beside the pinned tapes of a guest what its disks held before the
// first of them. It waits for the tapes before that to be complete.
func (r *recorderSet) keepImages(ctx context.Context, guest, first string) error {
	disk.IdleThread()
	for {
		before, err := r.segmentsBefore(guest, filepath.Base(first))
		if err != nil {
			return err
		}
		if len(before) == 0 || !r.written()[before[len(before)-1].Path] {
			break
		}
		if sleep(ctx, time.Second); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	r.expiring.Lock()
	defer r.expiring.Unlock()
	before, err := r.segmentsBefore(guest, filepath.Base(first))
	if err != nil {
		return err
	}
	images, err := imagesIn(r.imagesDir(guest))
	if err != nil {
		return err
	}
	chains := map[string]*chain{}
	var errs []error
	for _, i := range images {
		if i.after >= filepath.Base(first) {
			errs = append(errs, fmt.Errorf("no image of %s is kept with the tapes: the ring has gone on to %s", i.disk, i.after))
			continue
		}
		chains[i.disk] = &chain{from: i}
	}
	for _, s := range before {
		disks, done, err := disksOf(s.Path)
		defer done()
		errs = append(errs, err)
		for _, d := range disks {
			c := chains[d.Def.Name]
			if c == nil {
				c = &chain{}
				chains[d.Def.Name] = c
			}
			if filepath.Base(s.Path) > c.from.after {
				c.tapes = append(c.tapes, d)
			}
		}
	}
	for name, c := range chains {
		errs = append(errs, c.write(filepath.Dir(first), name))
	}
	return errors.Join(errs...)
}

func (r *recorderSet) segmentsBefore(guest, name string) ([]ring.Segment, error) {
	all, err := r.ring.Segments()
	return slices.DeleteFunc(all, func(s ring.Segment) bool { return s.Guest != guest || filepath.Base(s.Path) >= name }), err
}

// chain is a disk over several tapes.
type chain struct {
	from  image // what it held before them; zero: the first that has an image says
	tapes []*rebuild.Disk
}

// write makes the image of the disk at the end of the chain.
func (c *chain) write(dir, name string) error {
	after := c.from.after
	if n := len(c.tapes); n > 0 {
		after = c.tapes[n-1].Tape()
	}
	to := filepath.Join(dir, rebuild.ImageName(name, after))
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	work := filepath.Join(dir, "."+url.PathEscape(name)+".new")
	err := os.Remove(work)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err == nil && c.from.path != "" {
		err = copyWithHoles(work, c.from.path)
	}
	if err == nil && len(c.tapes) > 0 {
		err = writeImage(work, c.from.after, c.tapes)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("no image of %s is kept with the tapes: %w", name, err), os.RemoveAll(work))
	}
	return os.Rename(work, to)
}

// copyWithHoles copies a file and leaves out what it leaves out.
func copyWithHoles(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = dst.Truncate(info.Size())
	for at := int64(0); err == nil && at < info.Size(); {
		var end int64
		if at, err = src.Seek(at, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) {
			err = nil // only a hole is left
			break
		}
		if err == nil {
			end, err = src.Seek(at, unix.SEEK_HOLE)
		}
		if err == nil {
			_, err = io.Copy(io.NewOffsetWriter(dst, at), io.NewSectionReader(src, at, end-at))
			at = end
		}
	}
	return errors.Join(err, dst.Sync(), dst.Close())
}
