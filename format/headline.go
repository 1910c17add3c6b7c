package format

import (
	"bytes"
	"errors"
	"slices"
)

// headLine is the line of tree heads: the first is signed with the key that the
// header names, each other with the one that the head before it hands down.
type headLine struct {
	tape    [16]byte
	lossy   bool // chunks are lost, and heads may be among them
	whole   bool // it was not salvaged: there is no loss chunk
	trusted bool // the user named keys

	key     []byte // due next; nil when none is
	unknown bool   // no head has handed a key down yet, and the header is lost
	crossed bool   // behind the loss chunk
	held    bool   // a head of the tape as it was recorded is signed with the key due
	signed  uint64 // number of the last chunk below such a head
	state   SignatureState
}

func newHeadLine(r *Reader, lossy bool, lossAt uint64, trusted [][]byte) *headLine {
	l := &headLine{tape: r.tape, lossy: lossy, whole: lossAt == 0, trusted: len(trusted) > 0, key: r.header.Signer, unknown: r.headless}
	switch {
	case l.key == nil && !l.trusted:
		l.state = SignatureNone
	case l.key != nil && !l.trusted:
		l.state = SignatureValid
	case l.key != nil && slices.ContainsFunc(trusted, func(k []byte) bool { return bytes.Equal(k, l.key) }):
		l.state = SignatureTrusted
	default:
		l.state = SignatureBad
	}
	return l
}

// cross goes on to the heads behind the loss chunk, which salvage signs with the key
// that the loss chunk names.
func (l *headLine) cross(losses []*loss) {
	if l.crossed {
		return
	}
	l.crossed, l.unknown, l.key = true, false, nil
	for _, x := range losses {
		if len(x.Signer) > 0 {
			l.key = x.Signer
		}
	}
}

// follow checks the signature of the next head, whose root has been checked, and
// returns what is wrong with it.
func (l *headLine) follow(c *auditedCheckpoint, rep *CheckpointReport) error {
	due := l.key != nil || l.unknown
	if c.cp.signature == nil {
		if l.key == nil {
			return nil
		}
		rep.State, l.state = "bad signature", SignatureBad
		return errors.New("tree head of a signed tape without signature")
	}
	next, _, ok := c.link(l.tape, l.key)
	l.key, l.unknown = next, false
	switch {
	case ok:
		if rep.State == "ok" && !l.crossed && l.state != SignatureUnlinked {
			l.signed = c.chunk.head.Number - 1
		}
		l.held = l.held || !l.crossed && (rep.State == "ok" || l.whole)
	case l.lossy && due:
		if rep.State != "bad root" {
			rep.State = "unlinked"
		}
		if l.trusted {
			l.state = SignatureBad
		} else if l.state != SignatureBad {
			l.state = SignatureUnlinked
		}
	default:
		rep.State, l.state = "bad signature", SignatureBad
		return errors.New("signature is not by the key that is due")
	}
	return nil
}

// end is what the signatures come to. A key in the header is no signature, as anyone
// can name one: where no head is shown to be signed with it, because there is none
// yet or because what salvage left proves none, the tape is not signed.
func (l *headLine) end() SignatureState {
	if l.held || l.state != SignatureValid && l.state != SignatureTrusted {
		return l.state
	}
	if l.trusted {
		return SignatureBad
	}
	return SignatureNone
}
