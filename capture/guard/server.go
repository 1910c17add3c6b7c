//go:build linux

package guard

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// Hypervisor is what the guard does to domains.
type Hypervisor interface {
	Pause(domain uint16) error
	Unpause(domain uint16) error
	DisableLogDirty(domain uint16) error
	DomainInfo(domain uint16) (xenabi.DomainInfo, error)
}

// MaxBudget is the longest pause the guard grants.
const MaxBudget = 10 * time.Minute

// hold is one domain that the guard has paused.
type hold struct {
	uuid  [16]byte
	timer *time.Timer
}

// server is the guard's state; one goroutine owns it.
type server struct {
	hv      Hypervisor
	marks   Marks
	held    map[uint16]*hold
	expired map[uint16]int64 // released by the budget, and when; the recorder has not been told
	tracked map[uint16]bool
	over    chan uint16 // budgets that ended
}

// Serve answers requests on conn until it ends, and undoes what was left. It
// returns nil when the recorder went away in good order or bad.
func Serve(conn io.ReadWriter, hv Hypervisor, marks Marks) error {
	s := &server{
		hv: hv, marks: marks, over: make(chan uint16, 64),
		held: map[uint16]*hold{}, expired: map[uint16]int64{}, tracked: map[uint16]bool{},
	}
	lines := make(chan string)
	done := make(chan struct{})
	defer close(done)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(conn); in.Scan(); {
			select {
			case lines <- in.Text():
			case <-done:
				return
			}
		}
	}()
	for {
		select {
		case domain := <-s.over:
			s.expire(domain)
		case line, open := <-lines:
			if !open {
				return s.undo()
			}
			if _, err := io.WriteString(conn, s.answer(line)+"\n"); err != nil {
				return s.undo()
			}
		}
	}
}

// answer does one request. Errors are on one line.
func (s *server) answer(line string) string {
	var verb string
	var domain uint16
	var budget int64
	n, _ := fmt.Sscan(line, &verb, &domain, &budget)
	reply, err := "ok", error(nil)
	switch {
	case verb == "pause" && n == 3:
		err = s.pause(domain, time.Duration(budget))
	case verb == "unpause" && n == 2:
		if at := s.expired[domain]; at != 0 {
			delete(s.expired, domain)
			return fmt.Sprintf("expired %d", at)
		}
		err = s.release(domain)
	case verb == "track" && n == 2:
		s.tracked[domain] = true
	case verb == "untrack" && n == 2:
		delete(s.tracked, domain)
	default:
		err = fmt.Errorf("request %q is not understood", line)
	}
	if err != nil {
		return "error " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return reply
}

func (s *server) pause(domain uint16, budget time.Duration) error {
	if s.held[domain] != nil {
		return fmt.Errorf("domain %d is paused by this guard already", domain)
	}
	if budget <= 0 || budget > MaxBudget {
		return fmt.Errorf("pause budget %v is not within 0 and %v", budget, MaxBudget)
	}
	info, err := s.hv.DomainInfo(domain)
	if err != nil {
		return err
	}
	delete(s.expired, domain)
	if err := s.marks.put(domain, info.Handle); err != nil {
		return err
	}
	// The budget runs from before the call: Xen may take a while to stop the vCPUs.
	timer := time.AfterFunc(budget, func() { s.over <- domain })
	if err := s.hv.Pause(domain); err != nil {
		timer.Stop()
		return errors.Join(err, s.marks.remove(domain))
	}
	s.held[domain] = &hold{uuid: info.Handle, timer: timer}
	return nil
}

// expire ends a pause whose budget is over.
func (s *server) expire(domain uint16) {
	if s.held[domain] == nil {
		return // the timer fired while the recorder's unpause was being done
	}
	if s.release(domain) == nil {
		s.expired[domain] = monotonic()
	}
}

// monotonic is CLOCK_MONOTONIC in ns, which is the recorder's clock too.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 1 // this clock cannot be missing; 0 would say that nothing expired
	}
	return t.Nano()
}

// release unpauses, unless another guest has the id by now.
func (s *server) release(domain uint16) error {
	h := s.held[domain]
	if h == nil {
		return fmt.Errorf("domain %d is not paused by this guard", domain)
	}
	h.timer.Stop()
	err := unpauseIf(s.hv, domain, h.uuid)
	delete(s.held, domain)
	return errors.Join(err, s.marks.remove(domain))
}

// unpauseIf unpauses a domain if it is still the guest of the given UUID. A guest
// under construction is paused by the toolstack: to unpause a stranger is harm.
func unpauseIf(hv Hypervisor, domain uint16, uuid [16]byte) error {
	info, err := hv.DomainInfo(domain)
	if err != nil {
		return err
	}
	if info.Handle != uuid {
		return fmt.Errorf("domain %d is another guest by now", domain)
	}
	return hv.Unpause(domain)
}

// undo ends what the recorder left behind.
func (s *server) undo() error {
	var errs []error
	for domain := range s.held {
		errs = append(errs, s.release(domain))
	}
	for domain := range s.tracked {
		errs = append(errs, s.hv.DisableLogDirty(domain))
	}
	return errors.Join(errs...)
}
