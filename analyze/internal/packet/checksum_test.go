package packet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// plainSum adds 16-bit words one after the other, as RFC 1071 §4.1 does.
func plainSum(b []byte, start uint64) uint16 {
	sum := start
	for i := 0; i < len(b); i += 2 {
		sum += uint64(b[i]) << 8
		if i+1 < len(b) {
			sum += uint64(b[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// TestSum: every length, with carries out of every word, is summed as RFC 1071 does.
func TestSum(t *testing.T) {
	b := make([]byte, 300)
	for _, step := range []int{0, 1, 7, 255} {
		for i := range b {
			b[i] = byte(255 - i*step)
		}
		for from := range 9 {
			for to := from; to <= len(b); to++ {
				require.Equal(t, plainSum(b[from:to], 0x1ffff), Sum(b[from:to], 0x1ffff), "%d to %d of step %d", from, to, step)
			}
		}
	}
}
