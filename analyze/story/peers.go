package story

import "github.com/xentape/xentape/analyze/network"

// peerNames are the names the peer of a connection was asked for by.
func peerNames(c *network.Conn) []string {
	return nil
}

// transferred lists the files that connections carried.
func (e *Engine) transferred() []Transfer { return nil }
