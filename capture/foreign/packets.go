package foreign

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/xentape/xentape/format"
)

// Interface is one interface of a capture file. A pcap file has exactly one.
type Interface struct {
	LinkType    uint16 // LINKTYPE_ value
	SnapLen     uint32 // 0: no limit
	Name        string // if_name, "" where the file has none
	Description string
	Resolution  uint64 // units of its time stamps in a second
	Dropped     uint64 // packets the capture says it lost, so far read; 0 where it does not say

	offset int64 // if_tsoffset, seconds
}

// Packets reads one capture file, pcap or pcapng, plain or compressed by gzip or
// zstd. It goes on after a record that is damaged, as tcpdump does, and says so.
type Packets struct {
	Name string

	w          *window
	next       func() error
	interfaces []Interface
	secrets    []Secrets
	packet     format.Packet
	lost       error // a damaged stretch not yet reported
	done       error
}

// Secrets is a Decryption Secrets Block: keys the capture carries.
type Secrets struct {
	Type uint32 // 0x544c534b: TLS key log
	Data []byte
}

// ErrDamaged is wrapped by the errors of Next after which reading goes on.
var ErrDamaged = errors.New("damaged")

// OpenPackets recognises the capture in r by its content and reads its header.
func OpenPackets(r io.Reader, name string) (*Packets, error) {
	p := &Packets{Name: name, w: newWindow(r)}
	if err := p.decompress(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	head := p.w.need(4)
	var err error
	switch {
	case len(head) < 4:
		err = fmt.Errorf("capture of %d bytes: %w", len(head), errors.Join(io.ErrUnexpectedEOF, p.w.ending()))
	case string(head) == pcapngMagic:
		err = p.openPcapng()
	default:
		err = p.openPcap()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// decompress puts a decompressor between file and parser if the file starts like
// a compressed one. Its memory is bounded whatever the file says.
func (p *Packets) decompress() error {
	head := p.w.need(4)
	in := &windowReader{p.w}
	switch {
	case hasPrefix(head, "\x1f\x8b"):
		z, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		p.w = newWindow(z)
	case hasPrefix(head, "\x28\xb5\x2f\xfd"):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
		p.w = newWindow(z)
	}
	return nil
}

// windowReader reads what is left of a window.
type windowReader struct{ w *window }

func (r *windowReader) Read(b []byte) (int, error) {
	got := r.w.need(1)
	if len(got) == 0 {
		return 0, r.w.err
	}
	n := copy(b, r.w.buf[r.w.start:r.w.end])
	r.w.skip(n)
	return n, nil
}

// Next returns the next packet. The packet and its data are overwritten by the
// call after. Stamp.Time is wall-clock nanoseconds since 1970, Uncertainty the
// resolution of the file; Stamp.Stream is the index of the interface, from 1.
// An error that wraps ErrDamaged says what was passed over, and Next can be
// called again; io.EOF is the end.
func (p *Packets) Next() (*format.Packet, error) {
	if p.lost == nil && p.done == nil {
		p.done = p.next()
	}
	if err := p.lost; err != nil {
		p.lost = nil
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	if p.done != nil {
		if errors.Is(p.done, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("%s: %w", p.Name, p.done)
	}
	return &p.packet, nil
}

// All gives every packet; each is overwritten by the next. An error element that
// wraps ErrDamaged is followed by more, any other is the last.
func (p *Packets) All() iter.Seq2[*format.Packet, error] {
	return func(yield func(*format.Packet, error) bool) {
		for {
			k, err := p.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(k, err) || err != nil && !errors.Is(err, ErrDamaged) {
				return
			}
		}
	}
}

// Interfaces lists the interfaces read so far; pcapng may add more at any point.
func (p *Packets) Interfaces() []Interface { return p.interfaces }

// Secrets lists the decryption secrets read so far.
func (p *Packets) Secrets() []Secrets { return p.secrets }

// damaged sets what is wrong with the stretch that starts at off.
func (p *Packets) damaged(off int64, f string, args ...any) {
	p.lost = fmt.Errorf("%w at offset %d: %s", ErrDamaged, off, fmt.Sprintf(f, args...))
}

// truncated is the end of a file in the midst of a record.
func (p *Packets) truncated(off int64, what string) error {
	if err := p.w.ending(); err != nil {
		return fmt.Errorf("%s at offset %d: %w", what, off, err)
	}
	p.damaged(off, "the file ends in the midst of %s", what)
	return io.EOF
}
