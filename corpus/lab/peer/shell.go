package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// shell is the intruder: the far end of the reverse shell, which types what
// it is told to and otherwise leaves the connection open and silent.
type shell struct {
	j  *journal
	mu sync.Mutex
	c  *counted // the latest connection
	in *bufio.Reader
}

// lineTimeout is how long one typed line may take in an emulated guest.
const lineTimeout = 3 * time.Minute

func (s *shell) serve(ctx context.Context, l net.Listener) error {
	for {
		raw, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { raw.Close() })
		s.mu.Lock()
		if s.c != nil {
			s.c.Close()
		}
		s.c = count(raw)
		s.in = bufio.NewReader(s.c)
		s.note("opened")
		s.mu.Unlock()
	}
}

// note journals the connection as it stands; it stays open.
func (s *shell) note(detail string) {
	c := s.c.conversation("shell", detail)
	c.Opened = true
	s.j.add(c)
}

// play types lines, each after the one before was carried out: the shell on
// the other side is not interactive, so an echoed mark stands for its prompt.
func (s *shell) play(lines []string) (output string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		return "", errors.New("no reverse shell is connected")
	}
	var out strings.Builder
	for i, line := range lines {
		mark := fmt.Sprintf("--%d--", i)
		if err := s.c.SetDeadline(time.Now().Add(lineTimeout)); err != nil {
			return out.String(), err
		}
		fmt.Fprintf(&out, "$ %s\n", line)
		if _, err := fmt.Fprintf(s.c, "%s\necho %s\n", line, mark); err != nil {
			return out.String(), err
		}
		for {
			answer, err := s.in.ReadString('\n')
			if err != nil {
				return out.String() + answer, fmt.Errorf("line %d: %w", i+1, err)
			}
			if strings.HasSuffix(answer, mark+"\n") {
				out.WriteString(strings.TrimSuffix(answer, mark+"\n"))
				break
			}
			out.WriteString(answer)
		}
	}
	s.note(fmt.Sprintf("%d lines typed", len(lines)))
	return out.String(), s.c.SetDeadline(time.Time{})
}
