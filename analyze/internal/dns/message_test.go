package dns

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// reply is a response with one question and two answers, the second name
// compressed.
var reply = []byte("\x12\x34\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00" +
	"\x03WWW\x07example\x03com\x00\x00\x01\x00\x01" +
	"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x06\x03cdn\xc0\x10" +
	"\xc0\x2d\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01")

func TestParse(t *testing.T) {
	m, err := Parse(reply)
	require.NoError(t, err)
	require.Equal(t, uint16(0x1234), m.ID)
	require.True(t, m.Response && m.RD && m.RA && !m.AA)
	require.Equal(t, []Question{{"www.example.com", 1, 1}}, m.Questions)
	require.Len(t, m.Records, 2)
	require.Equal(t, "cdn.example.com", m.Records[0].Text)
	require.Equal(t, "cdn.example.com", m.Records[1].Name)
	require.Equal(t, "192.0.2.1", m.Records[1].Text)
}

func TestNameRefusesLoops(t *testing.T) {
	_, _, err := Name([]byte("\x01a\xc0\x00"), 0) // back into itself
	require.ErrorIs(t, err, ErrName)
	_, _, err = Name([]byte("\xc0\x02\xc0\x00"), 2)
	require.ErrorIs(t, err, ErrName)
}

func TestNetBIOSName(t *testing.T) {
	require.Equal(t, "FRED", NetBIOSName("EGFCEFEECACACACACACACACACACACAAA"))
	require.Equal(t, "plain", NetBIOSName("plain"))
}

// FuzzParse: whatever is parsed stays within the counts of its header, and a
// prefix of a message gives a prefix of its records.
func FuzzParse(f *testing.F) {
	f.Add(reply)
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		require.LessOrEqual(t, len(m.Questions), int(m.Counts[0]))
		require.LessOrEqual(t, len(m.Records), int(m.Counts[1])+int(m.Counts[2])+int(m.Counts[3]))
		for _, q := range m.Questions {
			require.LessOrEqual(t, len(q.Name), maxName)
		}
		if err == nil && len(b) > 0 {
			short, _ := Parse(b[:len(b)-1])
			require.LessOrEqual(t, len(short.Records), len(m.Records))
		}
	})
}
