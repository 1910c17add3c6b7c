package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// control takes requests from the person or script that stages an incident:
// one line a connection, answered by text and a last line "ok" or "error: …".
type control struct {
	intruder *shell
	j        *journal
}

func (s control) serve(ctx context.Context, l net.Listener) error {
	return accept(ctx, l, func(c net.Conn) {
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			return
		}
		verb, argument, _ := strings.Cut(strings.TrimSpace(line), " ")
		var answer string
		switch verb {
		case "get":
			answer, err = s.get(ctx, argument)
		case "play":
			answer, err = s.play(argument)
		default:
			err = fmt.Errorf("no request %q: get URL, play FILE", verb)
		}
		end := "ok"
		if err != nil {
			end = "error: " + err.Error()
		}
		if answer != "" && !strings.HasSuffix(answer, "\n") {
			answer += "\n"
		}
		fmt.Fprintf(c, "%s%s\n", answer, end)
	})
}

// get asks a guest's web server, over a connection of its own.
func (s control) get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", "lab")
	req.Close = true
	host := req.URL.Host
	if req.URL.Port() == "" {
		host = net.JoinHostPort(host, "80")
	}
	raw, err := (&net.Dialer{Timeout: 30 * time.Second}).DialContext(ctx, "tcp4", host)
	if err != nil {
		return "", err
	}
	c := count(raw)
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		return "", err
	}
	if err := req.Write(c); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	s.j.add(c.conversation("http", "GET "+req.URL.RequestURI()))
	return string(body), errors.Join(err, resp.Body.Close())
}

// play types the lines of a file, comments and blank lines left out.
func (s control) play(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return s.intruder.play(lines)
}

// ask sends a request to a running peer and copies its answer to w.
func ask(socket, request string, w io.Writer) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, request); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	text := strings.TrimSuffix(string(answer), "\n")
	body, last := "", text
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		body, last = text[:i+1], text[i+1:]
	}
	if _, err := io.WriteString(w, body); err != nil {
		return err
	}
	if last != "ok" {
		return errors.New(strings.TrimPrefix(last, "error: "))
	}
	return nil
}
