package vmcoreinfo_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/internal/linux/phys"
	"github.com/xentape/xentape/analyze/internal/linux/vmcoreinfo"
)

var text = "OSRELEASE=6.1.0-test\nBUILD-ID=00ff\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff92600000\n" +
	"NUMBER(phys_base)=-163577856\nNUMBER(pgtable_l5_enabled)=1\n" + strings.Repeat("LENGTH(free_list)=6\n", 20) + "KERNELOFFSET=11600000\n"

func memory(put map[uint64]string) *imagetest.Sparse {
	s := &imagetest.Sparse{Frames: map[uint64]*imagetest.Page{}}
	for at, text := range put {
		for f := at / phys.PageSize; f <= (at+uint64(len(text)))/phys.PageSize; f++ {
			if s.Frames[f] == nil {
				s.Frames[f] = new(imagetest.Page)
			}
		}
		s.Put(at, []byte(text))
	}
	return s
}

func find(t *testing.T, s *imagetest.Sparse) []*vmcoreinfo.Info {
	m, err := phys.New(s)
	require.NoError(t, err)
	var out []*vmcoreinfo.Info
	var u phys.Unread
	for in := range vmcoreinfo.Find(m, &u) {
		out = append(out, in)
		require.True(t, in.Still(m))
	}
	require.Zero(t, u.Frames)
	return out
}

func TestFindTwoCopies(t *testing.T) {
	other := strings.Replace(text, "6.1.0-test", "9.9.9-fake", 1)
	// A decoy with one copy comes first in memory and last in the answer. One
	// copy starts at 0x18 of its page, and one runs over a page's end.
	got := find(t, memory(map[uint64]string{0x1000: other, 0x5018: text, 0x8f00: text}))
	require.Len(t, got, 2)
	require.Equal(t, "6.1.0-test", got[0].Release())
	require.Equal(t, []uint64{0x5018, 0x8f00}, got[0].At)
	require.Equal(t, "9.9.9-fake", got[1].Release())

	in := got[0]
	require.Equal(t, "00ff", in.BuildID())
	require.EqualValues(t, 0x11600000, in.KernelOffset())
	n, ok := in.Number("phys_base")
	require.True(t, ok)
	require.EqualValues(t, -163577856, n)
	a, ok := in.Symbol("_stext")
	require.True(t, ok)
	require.EqualValues(t, uint64(0xffffffff92600000), a)
	_, ok = in.Symbol("missing")
	require.False(t, ok)
}

func TestNotVMCOREINFO(t *testing.T) {
	require.Empty(t, find(t, memory(map[uint64]string{0x1000: "OSRELEASE=short\nKERNELOFFSET=0\n"})))
	require.Empty(t, find(t, memory(map[uint64]string{0x1000: strings.ReplaceAll(text, "KERNELOFFSET", "SOMETHING")})))
}

func TestGoneInLaterSnapshot(t *testing.T) {
	s := memory(map[uint64]string{0x1000: text})
	in := find(t, s)[0]
	m, err := phys.New(memory(map[uint64]string{0x2000: text}))
	require.NoError(t, err)
	require.False(t, in.Still(m))
}
