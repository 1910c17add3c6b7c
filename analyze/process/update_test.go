//go:build update

package process_test

import (
	"bytes"
	"encoding/json"
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
// go test -tags update -run TestUpdate ./analyze/process, or one of them:
// -run TestUpdateFixtures/deb12-6.1

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
		t.Run(f.name, func(t *testing.T) {
			var prev *imagetest.Sparse
			for i, at := range f.times {
				prev = reduce(t, need.Recording(t, f.from, f.name+"."+at+".elf"), i+1, prev)
				name := filepath.Join("testdata", f.name+"."+at)
				out, err := os.Create(name + ".frames.zst")
				require.NoError(t, err)
				require.NoError(t, prev.Write(out))
				require.NoError(t, out.Close())
				b, err := json.Marshal(loadTruth(t, need.Recording(t, f.from, f.name+"."+at+".truth.json")))
				require.NoError(t, err)
				compress(t, name+".truth.json.zst", b)
			}
		})
	}
}

// reduce keeps of a recording what the analysis reads of it, as the first snapshot too.
func reduce(t *testing.T, base string, snapshot int, prev *imagetest.Sparse) *imagetest.Sparse {
	m := openImage(t, base, snapshot)
	o := process.Options{Symbols: symbolsFor(t, base)}
	offered := searched(t, m, o)
	// The kernel's text need not be kept for a symbol table that has to be searched
	// for: the note says where it is while this is read.
	first := process.New(o)
	require.NoError(t, first.Feed(m))
	m.Attach("elf/note/VMCOREINFO", first.InfoWithTable())
	// The further snapshots are read as first ones too, so that each image stands
	// alone.
	r := &recorder{Memory: m, offered: offered, read: map[uint64]bool{}}
	a := process.New(o)
	require.NoError(t, a.Feed(r))
	a.ExamineAll()
	s := &imagetest.Sparse{Frames: map[uint64]*imagetest.Page{}, Prev: prev}
	s.Origin = filepath.Base(base) + ", reduced to the frames the process analysis reads"
	s.Header.Info = m.Info()
	keep := r.read
	if prev != nil { // what the one before read may be read again
		for n := range prev.Frames {
			keep[n] = true
		}
	}
	for n := range keep {
		p := new(imagetest.Page)
		_, err := m.ReadPage(n, p[:])
		require.NoError(t, err)
		s.Frames[n] = p
	}
	return s
}

// compress writes a file of the repository.
func compress(t *testing.T, path string, b []byte) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, z.EncodeAll(b, nil), 0o644))
}

// searched returns the frames a search must be offered.
func searched(t *testing.T, m replay.Memory, o process.Options) map[uint64]bool {
	a := process.New(o)
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

// isfTypes are the structures the analysis asks a symbol file for.
var isfTypes = strings.Fields(`address_space backing_file cgroup cgroup_namespace cgroup_subsys_state cgrp_cset_link cred css_set dentry fdtable file
	file_system_type files_struct fown_struct fs_struct group_info inet_sock inode ipc_namespace kernfs_node kobject kset list_head
	maple_arange_64 maple_range_64 mm_struct mnt_namespace mod_tree_node mod_tree_root module module_kobject module_use mount net
	netlink_sock nsproxy packet_sock page pid pid_link pid_namespace prb_desc printk_info printk_log printk_ringbuffer proc_ns_operations ptdesc
	radix_tree_node rb_node rq seqcount_raw_spinlock signal_struct sock socket socket_alloc super_block task_struct time_namespace timekeeper tk_data unix_address unix_sock
	upid user_namespace uts_namespace vfsmount vm_area_struct vm_special_mapping xa_node`)

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

// TestUpdateISF reduces the symbol files of kernels.
func TestUpdateISF(t *testing.T) {
	for file, from := range map[string]string{"deb12-6.1": "memory", older: "memory2"} {
		t.Run(file, func(t *testing.T) {
			b, err := os.ReadFile(need.Recording(t, from, file+".isf.json"))
			require.NoError(t, err)
			compress(t, "testdata/"+file+".isf.json.zst", reduceISF(t, b))
		})
	}
}
