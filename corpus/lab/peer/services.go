package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// web serves GET: the programs of a folder by their names, anything else a
// greeting. It answers one request a connection, so that a connection is a conversation.
type web struct {
	programs string
	j        *journal
}

func (w web) serve(ctx context.Context, l net.Listener) error {
	return accept(ctx, l, func(raw net.Conn) {
		c := count(raw)
		_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			w.j.add(c.conversation("http", "bad request: "+err.Error()))
			return
		}
		body, status := []byte("hello from the lab\n"), "200 OK"
		switch name := path.Base(req.URL.Path); path.Ext(name) {
		case ".bin", ".ko":
			if body, err = os.ReadFile(filepath.Join(w.programs, name)); err != nil {
				body, status = []byte("no such file\n"), "404 Not Found"
			}
		}
		fmt.Fprintf(c, "HTTP/1.1 %s\r\nServer: lab\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", status, len(body))
		_, _ = c.Write(body)
		w.j.add(c.conversation("http", req.Method+" "+req.URL.RequestURI()))
	})
}

// secure answers TLS with a certificate for updates.example and one line.
type secure struct{ j *journal }

func (s secure) serve(ctx context.Context, l net.Listener) error {
	certificate, err := selfSigned("updates.example")
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}}
	return accept(ctx, l, func(raw net.Conn) {
		c := count(raw)
		_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
		t := tls.Server(c, config)
		detail := ""
		if err := t.HandshakeContext(ctx); err != nil {
			detail = "handshake: " + err.Error()
		} else {
			detail = t.ConnectionState().ServerName
			if line, err := bufio.NewReader(t).ReadString('\n'); err == nil {
				fmt.Fprintf(t, "got %d bytes\n", len(line))
			}
			_ = t.CloseWrite()
			// What the guest still sends, its own goodbye, counts too.
			_, _ = io.Copy(io.Discard, c)
		}
		s.j.add(c.conversation("tls", detail))
	})
}

func selfSigned(name string) (tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * 365 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, err
}

// sink swallows what it is sent, to the end.
type sink struct{ j *journal }

func (s sink) serve(ctx context.Context, l net.Listener) error {
	return accept(ctx, l, func(raw net.Conn) {
		c := count(raw)
		_, err := io.Copy(io.Discard, c)
		detail := ""
		if err != nil && !strings.Contains(err.Error(), "closed") {
			detail = err.Error()
		}
		s.j.add(c.conversation("sink", detail))
	})
}
