package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/xentape/xentape/corpus/lab/truth"
)

// record is everything the guest and its peer wrote down.
type record struct {
	points        []truth.Point
	processes     map[string][]truth.Process       // by point
	manifests     map[string][]truth.ManifestEntry // by point
	lives         []truth.Life
	hidden        []truth.Hidden
	notes         []truth.FileNote
	conversations []truth.Conversation
	expected      expectation
}

func readTruth(dir string) (*record, error) {
	t := &record{
		processes: make(map[string][]truth.Process),
		manifests: make(map[string][]truth.ManifestEntry),
	}
	err := errors.Join(
		lines(filepath.Join(dir, truth.PointsName), &t.points),
		lines(filepath.Join(dir, truth.ProcessesName), &t.lives),
		lines(filepath.Join(dir, truth.FilesName), &t.notes),
		lines(filepath.Join(dir, truth.PeerName), &t.conversations),
		t.expected.read(filepath.Join(dir, truth.RecordingName)),
	)
	if e := lines(filepath.Join(dir, truth.HiddenName), &t.hidden); !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	if err != nil {
		return nil, err
	}
	if len(t.points) < 2 {
		return nil, fmt.Errorf("%s: %d points, want at least 2", dir, len(t.points))
	}
	for _, p := range t.points {
		var processes []truth.Process
		var manifest []truth.ManifestEntry
		if err := errors.Join(
			lines(filepath.Join(dir, truth.PointName(p.Name)), &processes),
			lines(filepath.Join(dir, truth.ManifestName(p.Name)), &manifest),
		); err != nil {
			return nil, err
		}
		t.processes[p.Name], t.manifests[p.Name] = processes, manifest
	}
	for _, l := range t.lives {
		if l.Event == "lost" {
			return nil, fmt.Errorf("%s: the guest lost process events: record again", dir)
		}
	}
	return t, nil
}

// lines reads one JSON object a line, from the file or its gzipped twin.
func lines[T any](path string, out *[]T) error {
	f, err := os.Open(path)
	packed := errors.Is(err, os.ErrNotExist)
	if packed {
		f, err = os.Open(path + ".gz")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	r := io.Reader(f)
	if packed {
		if r, err = gzip.NewReader(f); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	got, err := decode[T](r)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	*out = got
	return nil
}

func decode[T any](r io.Reader) ([]T, error) {
	var out []T
	dec := json.NewDecoder(bufio.NewReader(r))
	for {
		var v T
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("object %d: %w", len(out)+1, err)
		}
		out = append(out, v)
	}
}

// between reports whether t lies between the first and the last point, where
// everything the guest did is accounted for.
func (t *record) between(when time.Time) bool {
	return when.After(t.points[0].Time) && !when.After(t.points[len(t.points)-1].Time)
}
