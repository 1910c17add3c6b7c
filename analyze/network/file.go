package network

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// BlockSize is the unit of File.Blocks, bytes: that of disk blocks on a tape.
const BlockSize = 4096

// maxBlocks bounds the block hashes kept of one file (1 GiB of content).
const maxBlocks = 262144

// A File is content carried by a connection, under the names of Zeek's
// files.log. Content codings (gzip) are undone: it is what the receiver keeps.
type File struct {
	Header
	FUID         string  `json:"fuid"`
	Source       string  `json:"source"`
	MIMEType     string  `json:"mime_type,omitempty"` // by its first bytes
	Filename     string  `json:"filename,omitempty"`  // as the sender called it
	URL          string  `json:"url,omitempty"`
	Duration     Seconds `json:"duration"`
	LocalOrig    bool    `json:"local_orig"` // the sender is in a local network
	IsOrig       bool    `json:"is_orig"`    // sent by the originator
	SeenBytes    uint64  `json:"seen_bytes"`
	TotalBytes   *uint64 `json:"total_bytes,omitempty"` // as announced
	MissingBytes uint64  `json:"missing_bytes"`
	SHA256       string  `json:"sha256,omitempty"` // unset when bytes are missing or the end was not seen
	Encoding     string  `json:"encoding,omitempty"`
	Complete     bool    `json:"complete"`

	// Blocks, with Options.FileBlocks, are the SHA-256 of each whole block of BlockSize bytes from the
	// beginning, and of the rest filled up with zeros as a file system stores
	// it. A block with missing bytes is the zero hash. Only the first maxBlocks.
	Blocks [][32]byte `json:"-"`

	record *HTTP // that names it
	ended  bool
}

// fileSink takes the bytes of one file.
type fileSink struct {
	*File
	emit   func(f *File, offset uint64, data []byte)
	whole  hash.Hash
	offset uint64
	blocks bool // block hashes are wanted
	broken bool // the current block has a hole
	part   bool // it is a range of the file only
	typed  bool // typ is known
	block  []byte
	first  []byte // for the type
	typ    string // of the content
}

// sniffBytes is how many first bytes tell the type.
const sniffBytes = 512

// newFile starts a file, and enters it in the list of those found.
func (c *conn) newFile(isOrig bool, source string) *fileSink {
	s := c.newSink(isOrig, source)
	s.emit = c.shard.opt.FileContent
	s.name(c)
	c.shard.content.files = append(c.shard.content.files, s.File)
	return s
}

func (c *conn) newSink(isOrig bool, source string) *fileSink {
	f := &File{Header: c.header(), Source: source, IsOrig: isOrig}
	return &fileSink{File: f, blocks: c.shard.opt.FileBlocks, whole: sha256.New()}
}

// name gives the file what depends on who its ends are.
func (s *fileSink) name(c *conn) {
	sender := s.RespH
	if s.IsOrig {
		sender = s.OrigH
	}
	s.LocalOrig = c.shard.opt.local(sender)
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], c.files)
	c.files++
	s.FUID = digest62('F', append(b[:], s.UID...))
}

func (s *fileSink) write(c *conn, b []byte) {
	s.LastRecord = c.lastRec
	s.Duration = c.between(s.at, c.now())
	if s.emit != nil && len(b) > 0 {
		s.emit(s.File, s.offset, b)
	}
	s.look(b)
	s.whole.Write(b)
	s.SeenBytes += uint64(len(b))
	s.offset += uint64(len(b))
	for s.blocks && len(b) > 0 && len(s.Blocks) < maxBlocks {
		if len(s.block) == 0 && len(b) >= BlockSize {
			s.addBlock(b[:BlockSize])
			b = b[BlockSize:]
			continue
		}
		n := min(BlockSize-len(s.block), len(b))
		s.block = append(s.block, b[:n]...)
		b = b[n:]
		if len(s.block) == BlockSize {
			s.addBlock(s.block)
			s.block = s.block[:0]
		}
	}
}

// look collects the first bytes until they tell the type.
func (s *fileSink) look(b []byte) {
	n := sniffBytes - len(s.first)
	switch {
	case s.typed || s.MissingBytes > 0 || len(b) == 0:
	case n > len(b):
		s.first = append(s.first, b...)
	case len(s.first) == 0: // the usual case: no copy is needed
		s.typ, s.typed = sniff(b[:n]), true
	default:
		s.typ, s.typed = sniff(append(s.first, b[:n]...)), true
	}
}

func (s *fileSink) addBlock(b []byte) {
	if s.broken {
		s.Blocks = append(s.Blocks, [32]byte{})
		s.broken = false
		return
	}
	s.Blocks = append(s.Blocks, sha256.Sum256(b))
}

// gap skips n missing bytes.
func (s *fileSink) gap(n uint64) {
	s.MissingBytes += n
	s.offset += n
	for s.blocks && n > 0 && len(s.Blocks) < maxBlocks {
		step := min(n, uint64(BlockSize-len(s.block)))
		s.broken = true
		if len(s.block)+int(step) == BlockSize {
			s.addBlock(nil)
			s.block = s.block[:0]
		} else {
			s.block = append(s.block, make([]byte, step)...)
		}
		n -= step
	}
}

// close ends the file.
func (s *fileSink) close(complete bool) {
	s.ended = true
	s.Complete = complete && s.MissingBytes == 0 && !s.part
	if s.part {
		s.Blocks = nil // they do not begin where blocks do
	}
	if s.Complete {
		s.SHA256 = hexString(s.whole.Sum(nil))
	}
	if len(s.block) > 0 && len(s.Blocks) < maxBlocks && complete && !s.part {
		s.addBlock(append(s.block, make([]byte, BlockSize-len(s.block))...))
	}
	if !s.typed {
		s.typ = sniff(s.first)
	}
	s.MIMEType = s.typ
	s.first, s.block = nil, nil
	if s.emit != nil {
		s.emit(s.File, s.offset, nil)
	}
}

func hexString(b []byte) string {
	out := make([]byte, 0, 2*len(b))
	for _, c := range b {
		out = append(out, hexDigits[c>>4], hexDigits[c&15])
	}
	return string(out)
}
