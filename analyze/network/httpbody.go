package network

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
)

// Bounds of bodies with a content coding, which are decoded when whole.
const (
	maxPacked   = 4 << 20  // encoded bytes kept
	maxUnpacked = 64 << 20 // decoded bytes looked at
)

// Body takes bytes of a body.
func (s *httpSide) Body(b []byte) {
	c := s.p.c
	if s.bodyLen == 0 && !s.packing && s.file == nil {
		switch s.encoding {
		case "gzip", "x-gzip", "deflate":
			s.packing = true
		}
	}
	if s.packing {
		if len(s.packed)+len(b) <= maxPacked && c.shard.content.held+len(b) <= maxHeld {
			c.shard.content.held += len(b)
			s.packed = append(s.packed, b...)
			return
		}
		// Too much to keep: what follows is taken as it is on the wire.
		kept := s.packed
		s.release()
		s.plain(kept)
		if s.file != nil {
			s.file.Encoding = s.encoding
		}
	}
	s.plain(b)
}

func (s *httpSide) release() {
	s.p.c.shard.content.held -= len(s.packed)
	s.packed, s.packing = nil, false
}

// plain takes decoded bytes.
func (s *httpSide) plain(b []byte) {
	if len(b) == 0 {
		return
	}
	if s.file == nil {
		s.openFile()
	}
	s.file.write(s.p.c, b)
	s.bodyLen += uint64(len(b))
}

// BodyGap notes missing bytes of a body.
func (s *httpSide) BodyGap(n uint64) {
	if s.packing { // cannot be decoded any more
		kept := s.packed
		s.release()
		s.plain(kept)
		if s.file != nil {
			s.file.Encoding = s.encoding
		}
	}
	if s.file == nil {
		s.openFile()
	}
	s.file.gap(min(n, maxFileGap))
	s.bodyLen += n
}

func (s *httpSide) openFile() {
	s.file = s.p.c.newFile(s.isOrig, "HTTP")
	f, h := s.file.File, s.cur
	f.Filename = s.filename
	if n := s.stream.Length(); n >= 0 && s.encoding == "" {
		total := uint64(n)
		f.TotalBytes = &total
	}
	if h == nil {
		return
	}
	f.URL = url(h, s.p.c)
	if s.isOrig {
		h.OrigFUIDs = append(h.OrigFUIDs, f.FUID)
		if s.filename != "" {
			h.OrigFilenames = append(h.OrigFilenames, s.filename)
		}
	} else {
		h.RespFUIDs = append(h.RespFUIDs, f.FUID)
		if s.filename != "" {
			h.RespFilenames = append(h.RespFilenames, s.filename)
		}
	}
}

func url(h *HTTP, c *conn) string {
	if h.Host == "" {
		return "http://" + c.resp.Netip().String() + h.URI
	}
	return "http://" + h.Host + h.URI
}

// unpack decodes a whole body.
func (s *httpSide) unpack(complete bool) {
	packed := s.packed
	s.release()
	var r io.Reader
	var err error
	if s.encoding == "deflate" {
		if r, err = zlib.NewReader(bytes.NewReader(packed)); err != nil {
			// Many servers send a bare deflate stream (RFC 9110 §8.4.1.2 notes it).
			r, err = flate.NewReader(bytes.NewReader(packed)), nil
		}
	} else {
		r, err = gzip.NewReader(bytes.NewReader(packed))
	}
	if err != nil {
		s.plain(packed)
		return
	}
	var buf [32 << 10]byte
	for total := 0; total < maxUnpacked; {
		n, err := r.Read(buf[:])
		s.plain(buf[:n])
		total += n
		if err != nil || !complete && n == 0 {
			return
		}
	}
}
