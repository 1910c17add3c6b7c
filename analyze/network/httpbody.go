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

// maxFilesHTTP is how many files of one message its record names (Zeek's
// HTTP::max_files_orig and max_files_resp).
const maxFilesHTTP = 15

// Body takes bytes of a body.
func (s *httpSide) Body(b []byte) {
	c := s.p.c
	if s.parts != nil {
		s.parts.feed(b)
		return
	}
	if s.bodyLen == 0 && !s.packing && s.file == nil {
		s.inLines = s.stream.InLines() && s.encoding == ""
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
	s.write(b)
	s.bodyLen += uint64(len(b))
	if s.inLines {
		s.lines.add(b, false)
	}
}

// write takes bytes of the file in hand.
func (s *httpSide) write(b []byte) {
	if len(b) == 0 {
		return
	}
	if s.file == nil {
		s.openFile()
	}
	s.file.write(s.p.c, b)
}

// closeFile ends the file in hand.
func (s *httpSide) closeFile(complete bool) {
	if s.file == nil {
		return
	}
	f := s.file.File
	s.file.close(complete)
	s.file = nil
	if f.record == nil || f.MIMEType == "" || s.files > maxFilesHTTP {
		return
	}
	if s.isOrig {
		f.record.OrigMIMETypes = append(f.record.OrigMIMETypes, f.MIMEType)
	} else {
		f.record.RespMIMETypes = append(f.record.RespMIMETypes, f.MIMEType)
	}
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
	if m := s.parts; m != nil {
		m.count.n += n // where parts begin is not known any more
		if s.file == nil {
			return
		}
	}
	if s.file == nil {
		s.openFile()
	}
	s.file.gap(min(n, maxFileGap))
	s.bodyLen += n
	s.lines.n += n
}

func (s *httpSide) openFile() {
	s.file = s.p.c.newFile(s.isOrig, "HTTP")
	s.files++
	f, h := s.file.File, s.p.state.record(s.p.c, s.isOrig)
	f.Filename, f.record = s.filename, h
	if n := s.stream.Length(); n >= 0 && s.encoding == "" && s.parts == nil {
		total := uint64(n)
		f.TotalBytes = &total
	}
	if n, part := s.stream.Part(); part {
		s.file.part = true
		f.TotalBytes = n
	}
	f.URL = url(h, s.p.c)
	if s.files > maxFilesHTTP {
		return
	}
	ids, names := &h.RespFUIDs, &h.RespFilenames
	if s.isOrig {
		ids, names = &h.OrigFUIDs, &h.OrigFilenames
	}
	*ids = append(*ids, f.FUID)
	if s.filename != "" {
		*names = append(*names, s.filename)
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
