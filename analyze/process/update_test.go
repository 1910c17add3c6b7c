//go:build update

package process_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/internal/linux/objects"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// What is here makes testdata anew out of the large recordings in XENTAPE_DATA:
// go test -tags update -run TestUpdate ./analyze/process

// recorder notes the frames read, and offers only some to be searched.
type recorder struct {
	replay.Memory
	offered map[uint64]bool
	read    map[uint64]bool
}

func (r *recorder) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	st, err := r.Memory.ReadPage(n, dst)
	r.read[n] = r.read[n] || st == format.PageData
	return st, err
}

func (r *recorder) Extents() []format.Extent {
	var out []format.Extent
	for _, x := range r.Memory.Extents() {
		for f := x.Start; f-x.Start < x.Count; f++ {
			if r.offered[f] {
				out = append(out, format.Extent{Start: f, Count: 1})
			}
		}
	}
	return out
}

// TestUpdateFixtures reduces the large recordings: what an analysis reads by
// address, the task structures a search finds, and both copies of VMCOREINFO.
func TestUpdateFixtures(t *testing.T) {
	for _, f := range fixtures {
		var prev *imagetest.Sparse
		for i, at := range f.times {
			base := need.Recording(t, f.from, f.name+"."+at+".elf")
			m := openImage(t, base, i+1)
			offered := searched(t, m)
			// The kernel's text need not be kept for a symbol table that has to
			// be searched for: the note says where it is while this is read.
			first := process.New(process.Options{})
			require.NoError(t, first.Feed(m))
			m.Attach("elf/note/VMCOREINFO", first.InfoWithTable())
			// The further snapshots are read as first ones too, so that each
			// image stands alone.
			r := &recorder{Memory: m, offered: offered, read: map[uint64]bool{}}
			a := process.New(process.Options{})
			require.NoError(t, a.Feed(r))
			a.ExamineAll()
			s := &imagetest.Sparse{Frames: map[uint64]*imagetest.Page{}, Prev: prev}
			s.Origin = fmt.Sprintf("%s.%s.elf, reduced to the frames the process analysis reads", f.name, at)
			s.Header.Info = m.Info()
			for n := range r.read {
				p := new(imagetest.Page)
				_, err := m.ReadPage(n, p[:])
				require.NoError(t, err)
				s.Frames[n] = p
			}
			if prev != nil { // what the one before read may be read again
				for n := range prev.Frames {
					p := new(imagetest.Page)
					_, err := m.ReadPage(n, p[:])
					require.NoError(t, err)
					s.Frames[n] = p
				}
			}
			out, err := os.Create(filepath.Join("testdata", f.name+"."+at+".frames.zst"))
			require.NoError(t, err)
			require.NoError(t, s.Write(out))
			require.NoError(t, out.Close())
			b, err := json.Marshal(loadTruth(t, strings.TrimSuffix(base, ".elf")+".truth.json"))
			require.NoError(t, err)
			z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join("testdata", f.name+"."+at+".truth.json.zst"), z.EncodeAll(b, nil), 0o644))
			prev = s
		}
	}
}

// searched returns the frames a search must be offered.
func searched(t *testing.T, m replay.Memory) map[uint64]bool {
	a := process.New(process.Options{})
	require.NoError(t, a.Feed(m))
	offered := map[uint64]bool{}
	for _, p := range a.Processes() {
		pa := uint64(p.Evidence[0].Physical)
		for f := pa / format.PageSize; f <= (pa+16<<10)/format.PageSize; f++ {
			offered[f] = true
		}
	}
	page := make([]byte, format.PageSize)
	for _, x := range m.Extents() {
		for f := x.Start; f-x.Start < x.Count; f++ {
			_, err := m.ReadPage(f, page)
			require.NoError(t, err)
			if hasInfo(page) {
				offered[f] = true
			}
		}
	}
	return offered
}

func hasInfo(page []byte) bool { return bytes.Contains(page, []byte("OSRELEASE=")) }

// TestFixturesEqualProc is TestRecordingsEqualProc on what the repository holds.
func TestFixturesEqualProc(t *testing.T) {
	for _, f := range fixtures {
		t.Run(f.name, func(t *testing.T) {
			images, truths := fixture(t, f.name)
			over := process.New(process.Options{})
			for i, m := range images {
				n := m.Info().Snapshot
				require.NoError(t, over.Feed(m))
				requireEqual(t, truths[i], over.At(n))
				requireSockets(t, truths[i], over.At(n))
				requireStatus(t, truths[i], over.At(n))
				h, ok := over.Host(n)
				require.True(t, ok)
				requireHost(t, truths[i], h)

				alone := process.New(process.Options{})
				require.NoError(t, alone.Feed(m.Clone()))
				requireEqual(t, truths[i], alone.At(n))
			}
			require.Empty(t, over.Findings())
		})
	}
}

// isfTypes are the structures the analysis asks a symbol file for.
var isfTypes = strings.Fields(`address_space backing_file cgroup cgroup_namespace cgroup_subsys_state cgrp_cset_link cred css_set dentry fdtable file
	file_system_type files_struct fown_struct fs_struct group_info inet_sock inode ipc_namespace kernfs_node kobject kset list_head
	maple_arange_64 maple_range_64 mm_struct mnt_namespace mod_tree_node mod_tree_root module module_kobject module_use mount net
	netlink_sock nsproxy packet_sock page pid pid_namespace prb_desc printk_info printk_ringbuffer proc_ns_operations ptdesc
	rb_node rq seqcount_raw_spinlock signal_struct sock socket socket_alloc super_block task_struct time_namespace timekeeper tk_data unix_address unix_sock
	upid user_namespace uts_namespace vfsmount vm_area_struct xa_node`)

// isfSymbols are the symbols it asks for, and those that place the file.
func isfSymbols() []string { return append(objects.Symbols(), "_stext", "linux_banner") }

// reduceISF keeps of a symbol file what the analysis asks for, and what that is
// made of.
func reduceISF(t *testing.T, b []byte) []byte {
	var d map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(b, &d))
	keep := func(section string, names []string, follow bool) {
		var all map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(d[section], &all))
		out := map[string]json.RawMessage{}
		for len(names) > 0 {
			n := names[0]
			names = names[1:]
			if out[n] != nil || all[n] == nil {
				continue
			}
			out[n] = all[n]
			if follow {
				var s struct{ Fields map[string]struct{ Type any } }
				require.NoError(t, json.Unmarshal(all[n], &s))
				for _, f := range s.Fields {
					names = append(names, embedded(f.Type)...)
				}
			}
		}
		require.NotEmpty(t, out)
		d[section], _ = json.Marshal(out)
	}
	keep("user_types", isfTypes, true)
	keep("symbols", isfSymbols(), false)
	b, err := json.Marshal(d)
	require.NoError(t, err)
	return b
}

// embedded lists the structures a type contains, not those it points to.
func embedded(typ any) []string {
	m, _ := typ.(map[string]any)
	switch m["kind"] {
	case "struct", "union":
		name, _ := m["name"].(string)
		return []string{name}
	case "array":
		return embedded(m["subtype"])
	}
	return nil
}

// TestUpdateISF reduces the symbol file of a kernel.
func TestUpdateISF(t *testing.T) {
	b, err := os.ReadFile(recording(t, "deb12-6.1.isf.json"))
	require.NoError(t, err)
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("testdata/deb12-6.1.isf.json.zst", z.EncodeAll(reduceISF(t, b), nil), 0o644))
}
