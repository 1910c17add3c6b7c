package process_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux"
	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/replay"
)

// hider changes an image the way rootkits change a running kernel.
type hider struct {
	t *testing.T
	s *imagetest.Sparse
	k *linux.Kernel
}

func newHider(t *testing.T, s *imagetest.Sparse, o process.Options) *hider {
	k, err := linux.Open(s, linux.Options(o))
	require.NoError(t, err)
	return &hider{t, s, k}
}

// intruded runs a test on kernels whose structures are laid out differently, at a
// moment when the intruder's program runs.
func intruded(t *testing.T, f func(t *testing.T, s *imagetest.Sparse, w *truth, o process.Options)) {
	for name, i := range map[string]int{"deb12-6.1": 1, "deb11-5.10": 0, older: 1} {
		t.Run(name, func(t *testing.T) {
			images, truths := fixture(t, name)
			f(t, images[i], truths[i], options(t, name))
		})
	}
}

// member is the address of a structure's member.
func (h *hider) member(at process.Address, typ, path string) uint64 {
	o := h.k.At(uint64(at), typ)
	m := o.Member(path)
	require.NoError(h.t, o.Err())
	return m
}

func (h *hider) at(va uint64) uint64 {
	pa, err := h.k.Space.Translate(va)
	require.NoError(h.t, err)
	return pa
}

func (h *hider) get(va uint64) uint64 { return h.s.U64(h.at(va)) }

func (h *hider) put(va, v uint64) {
	h.s.Put(h.at(va), binary.LittleEndian.AppendUint64(nil, v))
}

// unlink takes a list_head out of its ring and leaves its own pointers, as
// list_del_rcu does.
func (h *hider) unlink(node uint64) {
	next, prev := h.get(node), h.get(node+8)
	require.Equal(h.t, node, h.get(next+8), "the offset is not that of a list")
	h.put(next+8, prev)
	h.put(prev, next)
}

// forget clears the task from its number's struct pid.
func (h *hider) forget(task process.Address) {
	node := h.member(task, "task_struct", "pid_links.0")
	pprev := h.get(node + 8)
	require.Equal(h.t, node, h.get(pprev))
	h.put(pprev, h.get(node))
}

func processNamed(t *testing.T, list []process.Process, comm string) process.Process {
	i := slices.IndexFunc(list, func(p process.Process) bool { return p.Comm == comm })
	require.GreaterOrEqual(t, i, 0, comm)
	return list[i]
}

// intruder is the intruder's process in an image nobody has changed.
func intruder(t *testing.T, s *imagetest.Sparse, o process.Options) process.Process {
	a := process.New(o)
	require.NoError(t, a.Feed(s.Clone()))
	return processNamed(t, a.At(s.Info().Snapshot), "dropper")
}

// hide returns an image with the intruder's process hidden in the ways named.
func hide(t *testing.T, s *imagetest.Sparse, o process.Options, how ...process.View) *imagetest.Sparse {
	p := intruder(t, s, o)
	c := s.Clone()
	h := newHider(t, c, o)
	for _, v := range how {
		switch v {
		case process.TaskList:
			h.unlink(h.member(p.TaskAddress, "task_struct", "tasks"))
		case process.PIDIndex:
			h.forget(p.TaskAddress)
		case process.Children:
			h.unlink(h.member(p.TaskAddress, "task_struct", "sibling"))
		}
	}
	return c
}

func TestHiddenProcess(t *testing.T) {
	intruded(t, func(t *testing.T, s *imagetest.Sparse, w *truth, o process.Options) {
		n, is := s.Info().Snapshot, intruder(t, s, o)
		for _, how := range [][]process.View{
			{process.TaskList},
			{process.PIDIndex},
			{process.TaskList, process.PIDIndex},
			{process.TaskList, process.PIDIndex, process.Children},
		} {
			a := process.New(o)
			require.NoError(t, a.Feed(hide(t, s, o, how...)))
			require.Len(t, a.Findings(), 1, how)
			f := a.Findings()[0]
			require.Equal(t, "hidden-process", f.Kind)
			require.Equal(t, is.PID, f.PID)
			require.Equal(t, process.Hidden, f.Grade)
			require.Equal(t, how, f.Missing)
			require.NotEmpty(t, f.Evidence)
			// Hidden or not, it is listed, with all it has.
			requireEqual(t, w, a.At(n))
			p := processNamed(t, a.At(n), "dropper")
			require.Equal(t, process.Hidden, p.Grade)
			require.EqualValues(t, 40666, p.Sockets[0].LocalPort)
		}
	})
}

// A module taken off the list lsmod reads, and out of /sys/module, is still in
// the tree by which the kernel finds its code, and in memory.
func TestHiddenModule(t *testing.T) {
	// A module is of two parts in the tree, and since 6.4 of seven.
	for name, parts := range map[string][]string{"deb12-6.1": {"core_layout", "init_layout"}, "sid-7.2-la57": {"mem.0", "mem.1", "mem.2", "mem.3", "mem.4", "mem.5", "mem.6"}} {
		t.Run(name, func(t *testing.T) {
			images, _ := fixture(t, name)
			a := process.New(process.Options{})
			require.NoError(t, a.Feed(images[0]))
			whole, ok := a.Host(1)
			require.True(t, ok)
			require.NotEmpty(t, whole.Modules)
			mod := whole.Modules[0]
			c := images[0].Clone()
			h := newHider(t, c, process.Options{})
			var missing []process.View
			for _, step := range []struct {
				from process.View
				hide func()
			}{
				{process.ModuleList, func() { h.unlink(h.member(mod.Address, "module", "list")) }},
				{process.ModuleKset, func() { h.unlink(h.member(mod.Address, "module", "mkobj.kobj.entry")) }},
				{process.ModuleTree, func() { // its nodes no longer say whose they are
					for _, part := range parts {
						h.put(h.member(mod.Address, "module", part+".mtn.mod"), 0)
					}
				}},
			} {
				step.hide()
				missing = append(missing, step.from)
				a := process.New(process.Options{})
				require.NoError(t, a.Feed(c.Clone()))
				require.Len(t, a.Findings(), 1)
				f := a.Findings()[0]
				require.Equal(t, "hidden-module", f.Kind)
				require.Equal(t, mod.Name, f.Module)
				require.Equal(t, missing, f.Missing)
				now, _ := a.Host(1)
				require.Len(t, now.Modules, len(whole.Modules))
				require.Equal(t, process.Hidden, now.Modules[0].Grade)
			}
		})
	}
}

// Found by nothing that lists tasks or searches for them, a process still has an
// address space, and the kernel a list of these.
func TestOwnerOfAddressSpace(t *testing.T) {
	intruded(t, func(t *testing.T, s *imagetest.Sparse, w *truth, o process.Options) {
		n := s.Info().Snapshot
		c := hide(t, s, o, process.TaskList, process.PIDIndex, process.Children)
		h := newHider(t, c, o)
		h.put(h.member(intruder(t, s, o).TaskAddress, "task_struct", "sched_class"), 0)
		a := process.New(o)
		require.NoError(t, a.Feed(c))
		requireEqual(t, w, a.At(n))
		p := processNamed(t, a.At(n), "dropper")
		require.Equal(t, process.Hidden, p.Grade)
		require.Equal(t, []process.View{process.AddrSpace}, p.Views)
		require.Len(t, a.Findings(), 1)
		require.Equal(t, []process.View{process.TaskList, process.PIDIndex, process.Children, process.Scan}, a.Findings()[0].Missing)
	})
}

// A process that was given the number of no process, in its own structure only,
// keeps the number the kernel gave it.
func TestAlteredPID(t *testing.T) {
	intruded(t, func(t *testing.T, s *imagetest.Sparse, w *truth, o process.Options) {
		n, is := s.Info().Snapshot, intruder(t, s, o)
		for _, fuzzy := range []bool{false, true} {
			c := s.Clone()
			c.Header.Info.Conditions.Paused, c.Header.Info.Conditions.Fuzzy = !fuzzy, fuzzy
			h := newHider(t, c, o)
			h.put(h.member(is.TaskAddress, "task_struct", "pid"), 0) // tgid follows
			a := process.New(o)
			require.NoError(t, a.Feed(c))
			requireEqual(t, w, a.At(n))
			require.Len(t, a.Findings(), 1)
			f := a.Findings()[0]
			require.Equal(t, is.PID, f.PID)
			kind, grade := "altered-pid", process.Hidden
			if fuzzy {
				kind, grade = "pid-mismatch", process.Inconsistent
			}
			require.Equal(t, kind, f.Kind)
			require.Equal(t, grade, f.Grade)
			require.Equal(t, grade, processNamed(t, a.At(n), "dropper").Grade)
		}
	})
}

// A number no process can have is none: the process keeps its own, and it is said.
func TestBrokenNumber(t *testing.T) {
	intruded(t, func(t *testing.T, s *imagetest.Sparse, _ *truth, o process.Options) {
		is := intruder(t, s, o)
		for _, nr := range []uint64{0, 1 << 31, 5 << 20} {
			c := s.Clone()
			h := newHider(t, c, o)
			pid := h.get(h.member(is.TaskAddress, "task_struct", "thread_pid"))
			at := h.member(process.Address(pid), "pid", "numbers.0.nr")
			h.put(at, h.get(at)&^0xffffffff|nr)
			a := process.New(o)
			require.Error(t, a.Feed(c))
			p := processNamed(t, a.At(s.Info().Snapshot), "dropper")
			require.Equal(t, is.PID, p.PID)
			require.Len(t, p.Incomplete, 1)
			require.Contains(t, p.Incomplete[0], "pid namespaces")
		}
	})
}

// The kernel puts a process on its lists one after the other, and takes it off
// so: a machine that was stopped meanwhile has nothing to hide.
func TestMakingAndLeaving(t *testing.T) {
	intruded(t, func(t *testing.T, s *imagetest.Sparse, _ *truth, o process.Options) {
		is := intruder(t, s, o)
		state := "__state"
		if !newHider(t, s, o).k.At(0, "task_struct").Has(state) { // until 5.13
			state = "state"
		}
		for member, value := range map[string]uint64{"exit_state": 0x10, state: 0x800} {
			c := hide(t, s, o, process.TaskList, process.Children)
			h := newHider(t, c, o)
			at := h.member(is.TaskAddress, "task_struct", member)
			h.put(at, h.get(at)&^0xffffffff|value)
			a := process.New(o)
			require.NoError(t, a.Feed(c))
			require.Empty(t, a.Findings(), member)
			require.Equal(t, process.Seen, processNamed(t, a.At(s.Info().Snapshot), "dropper").Grade)
		}
	})
}

// A thread taken off its process's list is still in the index of numbers, and
// in memory.
func TestHiddenThread(t *testing.T) {
	intruded(t, func(t *testing.T, s *imagetest.Sparse, _ *truth, o process.Options) {
		a := process.New(o)
		require.NoError(t, a.Feed(s.Clone()))
		th := processNamed(t, a.At(s.Info().Snapshot), "mt-app").ThreadList[5]
		c := s.Clone()
		h := newHider(t, c, o)
		h.unlink(h.member(th.TaskAddress, "task_struct", "thread_node"))
		a = process.New(o)
		require.NoError(t, a.Feed(c))
		f := a.Findings()
		require.Len(t, f, 1)
		require.Equal(t, "hidden-thread", f[0].Kind)
		require.Equal(t, th.TaskAddress, f[0].TaskAddress)
		require.Equal(t, []process.View{process.ThreadGroup}, f[0].Missing)
		require.Contains(t, f[0].Views, process.PIDIndex)
	})
}

// In a copy made while the guest ran, a difference is not hiding until the next
// snapshot shows it too.
func TestUnpausedNeedsRepetition(t *testing.T) {
	intruded(t, func(t *testing.T, s *imagetest.Sparse, _ *truth, o process.Options) {
		running := func(number int) *imagetest.Sparse {
			c := hide(t, s, o, process.TaskList)
			c.Header.Info.Conditions.Paused, c.Header.Info.Conditions.Fuzzy = false, true
			c.Header.Info.Snapshot = number
			return c
		}
		a := process.New(o)
		require.NoError(t, a.Feed(running(1)))
		require.Len(t, a.Findings(), 1)
		require.Equal(t, process.Inconsistent, a.Findings()[0].Grade)
		require.Equal(t, process.Inconsistent, processNamed(t, a.At(1), "dropper").Grade)
		require.NoError(t, a.Feed(running(2)))
		require.Len(t, a.Findings(), 1)
		require.Equal(t, process.Hidden, a.Findings()[0].Grade)
		require.Equal(t, []int{1, 2}, a.Findings()[0].Snapshots)
	})
}

// A process that is taken off every list between two snapshots was in the first.
func TestHiddenBetweenSnapshots(t *testing.T) {
	intruded(t, func(t *testing.T, s *imagetest.Sparse, _ *truth, o process.Options) {
		second := hide(t, s, o, process.TaskList, process.PIDIndex, process.Children)
		second.Header.Info.Snapshot = 3
		second.Prev = s
		a := process.New(o)
		require.NoError(t, a.Feed(s.Clone()))
		require.NoError(t, a.Feed(second))
		p := processNamed(t, a.At(3), "dropper")
		require.Contains(t, p.Views, process.Previous)
		require.Equal(t, process.Hidden, p.Grade)
		require.Zero(t, p.ExitSnapshot)
	})
}

// Another boot is another guest: nothing of the first is still there.
func TestReboot(t *testing.T) {
	images, _ := fixture(t, "deb12-6.1")
	other, _ := fixture(t, "sid-7.2-la57")
	second := other[0].Clone()
	second.Header.Info.Snapshot = 2
	a := process.New(process.Options{})
	require.NoError(t, a.Feed(images[0]))
	require.NoError(t, a.Feed(second))
	s := a.Summary()
	require.Equal(t, 2, s.Boots)
	require.Empty(t, s.Intervals)
	for _, p := range a.Processes() {
		if p.FirstSnapshot == 1 && p.Grade != process.Residue {
			require.Equal(t, 2, p.ExitSnapshot)
		}
	}
}

func TestNothingToLookAt(t *testing.T) {
	mem := func(text string, guest replay.GuestType) *imagetest.Sparse {
		s := &imagetest.Sparse{Frames: map[uint64]*imagetest.Page{7: new(imagetest.Page)}}
		copy(s.Frames[7][100:], text)
		s.Header.Info.Guest = guest
		return s
	}
	for text, system := range map[string]string{
		"RSDS0123456789abcdef\x01\x00\x00\x00ntkrnlmp.pdb\x00": "Windows",
		"@(#)FreeBSD 14.1-RELEASE":                             "FreeBSD",
		"Linux version 2.6.32":                                 "Linux",
		"nothing known":                                        "",
	} {
		a := process.New(process.Options{})
		err := a.Feed(mem(text, replay.GuestHVM))
		require.Error(t, err)
		got, ok := process.Unsupported(err)
		require.True(t, ok)
		require.Equal(t, system, got)
		require.NotEmpty(t, a.Summary().CouldNot)
		require.Empty(t, a.At(1))
	}
	err := process.New(process.Options{}).Feed(mem("", replay.GuestPV))
	require.ErrorContains(t, err, "xen/p2m")
}

// A process names itself with any bytes it likes.
func TestNamesThatAreNoText(t *testing.T) {
	images, _ := fixture(t, "deb12-6.1")
	c := images[1].Clone()
	a := process.New(process.Options{})
	require.NoError(t, a.Feed(c))
	p := processNamed(t, a.At(2), "dropper")
	require.Empty(t, p.Hex)
	h := newHider(t, c, process.Options{})
	h.put(h.k.At(uint64(p.TaskAddress), "task_struct").Member("comm"), binary.LittleEndian.Uint64([]byte("caf\xe9\x1b[m\x00")))
	a = process.New(process.Options{})
	require.NoError(t, a.Feed(c))
	p = processNamed(t, a.At(2), "caf\xe9\x1b[m")
	require.Equal(t, map[string]string{"comm": "636166e91b5b6d"}, p.Hex)
}
