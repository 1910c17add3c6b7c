package ntfs

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	journalName   = "$UsnJrnl"
	journalStream = "$J"

	// primed is how much of the journal before the recording is read to know which
	// files are open, and why they changed since they were opened.
	primed = 1 << 20
	// maxOpen bounds the files that are taken to be open.
	maxOpen = 1 << 16
	// maxJump bounds the search for the next page beyond ones that are unreadable.
	maxJump = 64 << 20
)

// journal reads the change journal of a volume, $Extend\$UsnJrnl:$J, as it grows.
// A record's number is its place, so that what clusters held before is never
// taken for records.
type journal struct {
	num   uint64 // its file record, 0 = there is none
	seq   uint16
	runs  []run
	next  uint64 // where the next record will be
	open  map[reference]*opened
	begun bool // any record was read, so that next is behind one
	dirty bool
	at    fs.Stamp            // of the last write to it
	pages map[uint64]fs.Stamp // and to each of its pages, from next on
}

// opened is what is told already of a file: reasons add up from the first change
// to the close.
type opened struct {
	reason  uint32
	parent  reference // by RENAME_OLD_NAME
	name    string
	renamed bool
}

// isJournal reports whether f is the change journal.
func (f *file) isJournal() bool {
	for _, n := range f.names {
		if n.parent.record() == extendRecord && n.name == journalName {
			return true
		}
	}
	return false
}

// attach notes where the journal is. A journal that was not there before is read
// from its start when the recording saw it begin.
func (j *journal) attach(v *Volume, f *file, crawl bool) error {
	s := f.stream(journalStream)
	if s == nil || s.resident || s.unit > 0 {
		return nil
	}
	same := j.num == f.num && j.seq == f.seq
	j.num, j.seq, j.runs, j.dirty = f.num, f.seq, s.runs, true
	if same && !crawl {
		return nil
	}
	j.next, j.begun, j.open, j.pages = j.first(v), false, map[reference]*opened{}, map[uint64]fs.Stamp{}
	if !crawl {
		return nil
	}
	// What is there belongs to the time before the recording.
	end := s.size / usnPage * usnPage
	if end > primed {
		j.next = max(j.next, end-primed)
	}
	return j.read(v, nil)
}

// first is the place of the first page of the journal that has clusters: its
// beginning is given back as it grows.
func (j *journal) first(v *Volume) uint64 {
	for _, r := range j.runs {
		if !r.sparse {
			return r.vcn * v.boot.Cluster / usnPage * usnPage
		}
	}
	return 0
}

// end is where the clusters of the journal end.
func (j *journal) end(v *Volume) uint64 {
	if len(j.runs) == 0 {
		return 0
	}
	r := j.runs[len(j.runs)-1]
	return (r.vcn + r.count) * v.boot.Cluster
}

// wrote notes a write to the volume that falls into the journal.
func (j *journal) wrote(v *Volume, w *fs.Write) {
	if j.num == 0 {
		return
	}
	c := v.boot.Cluster
	for _, r := range j.runs {
		a, b := max(w.Off, r.lcn*c), min(w.Off+w.Len, (r.lcn+r.count)*c)
		if r.sparse || a >= b {
			continue
		}
		j.dirty, j.at = true, w.Stamp
		from := (r.vcn - r.lcn) * c // modulo 2^64: the distance from volume to stream
		for p := (a + from) / usnPage; p <= (b-1+from)/usnPage; p++ {
			if p*usnPage+usnPage > j.next && len(j.pages) < maxOpen {
				j.pages[p] = w.Stamp
			}
		}
	}
}

// read hands over the records that have become readable. A page in which no
// record begins at the start has not been written yet; one whose successor has a
// record is complete.
func (j *journal) read(v *Volume, tell func(usnRecord, fs.Stamp)) error {
	j.dirty = false
	var lost error
	note := func(err error) {
		if lost == nil {
			lost = err
		}
	}
	page := make([]byte, usnPage)
	if n := j.onward(v); n > 0 && j.begun {
		note(fmt.Errorf("%d bytes before %#x: %w", n, j.next, errGivenBack))
	}
	for end := j.end(v); j.next < end; {
		start := j.next / usnPage * usnPage
		if err := v.readRuns(j.runs, page, start); err != nil {
			note(err)
			beyond := j.beyond(v, start)
			if beyond == 0 {
				break
			}
			j.next = beyond
			continue
		}
		j.next = j.page(page, start, tell)
		if j.next == start+usnPage {
			continue
		}
		if !j.begins(v, start+usnPage) {
			break
		}
		if rest := page[j.next-start:]; !zero(rest) {
			_, err := parseUSN(rest)
			note(errors.Join(err, fmt.Errorf("page %#x, record at %d: %w", start, j.next-start, fs.ErrCorrupt)))
		}
		j.next = start + usnPage
	}
	for p := range j.pages {
		if (p+1)*usnPage <= j.next {
			delete(j.pages, p)
		}
	}
	return lost
}

// errGivenBack: the start of the journal goes as it grows.
var errGivenBack = errors.New("given back before they could be read")

// onward moves to the next page that has clusters where there are none any more, or not
// yet were when the journal was first seen, and returns how much that leaves out.
func (j *journal) onward(v *Volume) uint64 {
	for _, r := range j.runs {
		lo, hi := r.vcn*v.boot.Cluster, (r.vcn+r.count)*v.boot.Cluster
		if r.sparse || hi <= j.next {
			continue
		}
		if lo = (lo + usnPage - 1) / usnPage * usnPage; lo <= j.next {
			return 0
		}
		n := lo - j.next
		j.next = lo
		return n
	}
	return 0
}

// page decodes one page from where reading stopped, and returns where it stops now.
func (j *journal) page(page []byte, start uint64, tell func(usnRecord, fs.Stamp)) uint64 {
	at := j.next - start
	for at < usnPage {
		r, err := parseUSN(page[at:])
		if err != nil || r.usn != start+at {
			break
		}
		j.begun = true
		stamp, ok := j.pages[start/usnPage]
		if !ok {
			stamp = j.at
		}
		if tell != nil {
			tell(r, stamp)
		} else {
			j.seen(r)
		}
		at += uint64(r.length)
	}
	return start + at
}

// begins reports whether the page at off starts with a record.
func (j *journal) begins(v *Volume, off uint64) bool {
	page := make([]byte, usnPage)
	if off >= j.end(v) || v.readRuns(j.runs, page, off) != nil {
		return false
	}
	r, err := parseUSN(page)
	return err == nil && r.usn == off
}

// beyond finds the next page with records after one that cannot be read, 0 = none.
func (j *journal) beyond(v *Volume, off uint64) uint64 {
	for k := off + usnPage; k < min(j.end(v), off+maxJump); k += usnPage {
		if j.begins(v, k) {
			return k
		}
	}
	return 0
}

// seen brings what is known of a file's opening up to date and returns the reasons
// that r adds.
func (j *journal) seen(r usnRecord) (added uint32, o *opened) {
	o = j.open[r.file]
	if o == nil {
		if len(j.open) >= maxOpen {
			clear(j.open) // reasons may be told twice; better than without bound
		}
		o = &opened{}
		j.open[r.file] = o
	}
	if r.reason&(usnRenameOld|usnRenameNew) == usnRenameOld {
		o.parent, o.name, o.renamed = r.parent, r.name, true
		o.reason &^= usnRenameNew // an open file may be renamed again
	}
	added = r.reason &^ o.reason
	o.reason |= r.reason
	if r.reason&usnClose != 0 {
		delete(j.open, r.file)
	}
	return added, o
}

// told turns a record into the operations that it is the first to name.
func (j *journal) told(r usnRecord, at fs.Stamp) []fs.Told {
	if r.time == fs.NoTime {
		if len(r.ranges) == 0 {
			return nil
		}
		return []fs.Told{{Op: fs.ToldWrite, ID: id(r.file.record(), ""), Generation: uint64(r.file.seq()), Time: fs.NoTime, Number: r.usn, Ranges: r.ranges, Reason: reasonNames(r.reason), At: at}}
	}
	before := uint32(0)
	if o := j.open[r.file]; o != nil {
		before = o.reason
	}
	added, o := j.seen(r)
	t := fs.Told{
		ID: id(r.file.record(), ""), Generation: uint64(r.file.seq()), Parent: id(r.parent.record(), ""), Name: r.name,
		Type: fs.TypeFile, Time: r.time, Number: r.usn, Reason: reasonNames(r.reason), Source: "usn", At: at,
	}
	if r.attributes&fileDirectory != 0 {
		t.Type = fs.TypeDir
	}
	var out []fs.Told
	add := func(bits uint32, op fs.ToldOp) {
		if added&bits != 0 && before&bits == 0 {
			t.Op = op
			out = append(out, t)
		}
	}
	add(usnCreate, fs.ToldCreate)
	add(usnOverwrite|usnExtend|usnNamedWrite, fs.ToldWrite)
	add(usnTruncate, fs.ToldTruncate)
	add(usnBasicInfo, fs.ToldInfo)
	add(usnHardLink, fs.ToldLink)
	if added&usnRenameNew != 0 && o.renamed {
		t.OldParent, t.OldName = id(o.parent.record(), ""), o.name
		add(usnRenameNew, fs.ToldRename)
		t.OldParent, t.OldName = fs.ID{}, ""
		o.renamed = false
	}
	add(usnDelete, fs.ToldDelete)
	return out
}

// tell adds what the change journal says to tx.
func (n *ntfs) tell(tx *fs.Tx, s fs.Sink) {
	j := &n.journal
	if j.num == 0 || !j.dirty {
		return
	}
	err := j.read(n.vol, func(r usnRecord, at fs.Stamp) { tx.Told = append(tx.Told, j.told(r, at)...) })
	if err != nil {
		s.Problem(fs.Problem{Kind: problemKind(err), At: j.at, ID: id(j.num, ""), Text: "change journal: " + err.Error()})
	}
	for _, t := range tx.Told {
		if tx.First.Seq == 0 || t.At.Seq < tx.First.Seq {
			tx.First = t.At
		}
		if t.At.Seq > tx.Last.Seq {
			tx.Last = t.At
		}
	}
}
