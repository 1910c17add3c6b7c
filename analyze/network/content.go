package network

import (
	"slices"
	"strings"
)

// content is what a shard keeps of the inside of its connections.
type content struct{}

// app is the application side of one connection: what is said in it.
type app struct{}

// DNS, TLS, HTTP, SSH and QUIC are what was said in a connection.
type (
	DNS  struct{}
	TLS  struct{}
	HTTP struct{}
	SSH  struct{}
	QUIC struct{}
	File struct{}
)

func (s *shard) attach(c *conn) {}

func (a *app) datagram(c *conn, isOrig bool, payload []byte) {}
func (a *app) finish(c *conn)                                {}
func (a *app) describe(r *Conn)                              {}

func (c *conn) contentNext(isOrig bool, data []byte)              {}
func (c *conn) contentAbove(isOrig bool, seq uint64, data []byte) {}
func (c *conn) contentFill(isOrig bool, from, to uint64)          {}
func (c *conn) contentGap(isOrig bool, n uint64)                  {}
func (c *conn) contentStop(isOrig bool)                           {}
func (c *conn) contentEOF(isOrig bool)                            {}
func (c *conn) contentFlip()                                      {}

// addService notes an application protocol that was confirmed.
func (c *conn) addService(name string) {
	if !slices.Contains(c.services, name) {
		c.services = append(c.services, name)
	}
}

func (c *conn) dropService(name string) {
	c.services = slices.DeleteFunc(c.services, func(s string) bool { return s == name })
}

func (c *conn) service() string { return strings.Join(c.services, ",") }
