package network

// clean: established, or closed in an orderly way. Only then is a hole in the
// stream known to be lost data.
func clean(e *endpoint) bool {
	return e.state == established || e.state == closed && e.prev == established
}

// pending: the side has closed but not all its data was seen.
func pending(ep, peer *endpoint) bool {
	s := &ep.stream
	s.init()
	if s.skip {
		return false
	}
	delivered := uint64(ep.start) + s.next
	last := full(ep.last, ep.lastWraps)
	if int64(last) < int64(delivered) {
		return false
	}
	if delivered != last && delivered != last-1 {
		return true
	}
	return ep.state != reset && peer.stream.holds()
}

// dataSent takes payload at relative sequence number seq.
func (c *conn) dataSent(ep, peer *endpoint, seq uint64, data []byte, isOrig bool) {
	s := &ep.stream
	s.init()
	if s.skip {
		return
	}
	end := seq + uint64(len(data))
	low := max(full(ep.ack, ep.ackWraps)-uint64(ep.start), s.trimmed)
	if int64(full(ep.ack, ep.ackWraps)-uint64(ep.start)) < 0 {
		low = s.trimmed
	}
	if int64(end) <= int64(low) {
		return // old and acknowledged
	}
	if seq < low {
		data, seq = data[low-seq:], low
	}
	switch {
	case seq > s.next:
		ep.reordered++
		if len(s.above) >= maxSegments {
			s.skip, s.above = true, nil
			c.contentStop(isOrig)
			return
		}
		c.contentAbove(isOrig, seq, data)
		s.insert(seq, end)
	case end > s.next:
		c.contentNext(isOrig, data[s.next-seq:])
		s.next = end
		c.drain(s, isOrig)
		if ep.noneAcked() && ep.size(peer) > maxInitialWindow {
			s.trimmed = s.next // the peer's acknowledgements are not seen
		}
	}
	if ep.noneAcked() && s.top()-s.next > maxAboveHole || s.buffered() > maxUnacked {
		s.skip, s.above = true, nil
		c.contentStop(isOrig)
	}
}

// drain delivers what lies above a hole that was just closed.
func (c *conn) drain(s *stream, isOrig bool) {
	if len(s.above) == 0 {
		return
	}
	from := s.next
	s.absorb()
	if s.next > from {
		c.contentFill(isOrig, from, s.next)
	}
}

// ackReceived trims the stream of ep up to what its peer acknowledged. What was
// acknowledged but never seen is a content gap.
func (c *conn) ackReceived(ep, peer *endpoint, seq uint64, isOrig bool) {
	s := &ep.stream
	s.init()
	if ep.fin && seq >= ep.finSeq {
		seq = ep.finSeq - 1
	}
	if int64(seq) <= int64(s.trimmed) {
		return
	}
	if seq > s.next {
		c.giveUp(ep, peer, seq, isOrig)
	}
	s.trimmed = seq
	c.drain(s, isOrig)
	c.checkEOF(ep, peer, isOrig)
}

// giveUp moves over holes below upTo: data there will not come any more.
func (c *conn) giveUp(ep, peer *endpoint, upTo uint64, isOrig bool) {
	s := &ep.stream
	if upTo <= 2 && c.tcp.partial {
		return // the sequence numbers were only assumed
	}
	if !s.skip {
		for len(s.above) > 0 && s.above[0].from < upTo {
			c.gap(ep, peer, s.above[0].from-s.next, isOrig)
			s.next = s.above[0].from
			c.drain(s, isOrig)
		}
		if upTo > s.next {
			c.gap(ep, peer, upTo-s.next, isOrig)
		}
	}
	if upTo > s.next {
		s.next = upTo
	}
}

func (c *conn) gap(ep, peer *endpoint, n uint64, isOrig bool) {
	if n == 0 {
		return
	}
	if clean(ep) && clean(peer) {
		if ep.gaps.hit() {
			c.addHistory('G', isOrig)
		}
		ep.stream.missed += n
	}
	c.contentGap(isOrig, n)
}

// checkEOF notes the end of a side's stream when nothing of it is missing.
func (c *conn) checkEOF(ep, peer *endpoint, isOrig bool) {
	s := &ep.stream
	if s.eof || !(ep.fin || ep.state == closed || ep.state == reset) || pending(ep, peer) {
		return
	}
	s.eof = true
	c.contentEOF(isOrig)
	if c.tcp.closePend {
		c.sideClosed(ep, peer)
		c.tcp.closePend = false
	}
}
