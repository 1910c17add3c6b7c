package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// maxProof bounds a proof file: a record of the largest size, in base64, and the
// paths and notes around it.
const maxProof = 64 << 20

// proveFlags say what is to be proved.
type proveFlags struct {
	seq      uint64
	snapshot string
	page     uint64
	out      string
}

func newProveCommand(t *terminal) *cobra.Command {
	var keys keyFlags
	var trust trustFlags
	var what proveFlags
	var check string
	c := &cobra.Command{
		Use:     "prove TAPE --record N -o PROOF | prove TAPE --snapshot S --page N -o PROOF | prove --check PROOF",
		GroupID: "tape",
		Short:   "One record, or one page, with proof that it is on the tape, without the rest",
		Long: `prove discloses one packet, one disk request or any other record; or one page of a
memory snapshot, one 4096-byte block of a disk's base; with the path that leads from
it to the tape's signed tree head. Whoever gets the proof checks it without the tape
and without its keys, and learns nothing of the other records and pages.

The proof is JSON; its form is in format/SPEC.md, sections 7.4 and 7.5.` + "\n" + exitStatusHelp,
		Example: "  xentape prove incident.xtape --record 4711 -o packet.proof\n" +
			"  xentape prove incident.xtape --snapshot 2 --page 0x1c3f -o page.proof\n" +
			"  xentape prove incident.xtape --snapshot xvda --page 7 -o block.proof\n" +
			"  xentape prove --check packet.proof --signer 7d5a…",
		Args: nargs(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if check != "" {
				if len(args) > 0 {
					return usagef("prove --check takes the proof alone: the tape is not needed")
				}
				return checkProof(t, check, &trust)
			}
			if page := c.Flags().Changed("page"); len(args) != 1 || (what.seq == 0) == (what.snapshot == "") || page != (what.snapshot != "") {
				return usagef("usage: xentape prove TAPE --record N [-o PROOF], or xentape prove TAPE --snapshot S --page N [-o PROOF]")
			}
			return prove(t, &keys, args[0], &what)
		},
	}
	f := c.Flags()
	f.Uint64Var(&what.seq, "record", 0, "sequence `number` of the record, as evidence names it")
	f.StringVar(&what.snapshot, "snapshot", "", "the memory `snapshot`, 2 or #2, as info counts them, or the disk whose base it is, as xvda, or xvda#2 when it has several; with --page")
	f.Uint64Var(&what.page, "page", 0, "`number` of the page of memory (its gfn), or of the 4096-byte block of the disk")
	f.StringVarP(&what.out, "output", "o", "", "the `file` to write; stdout when not given")
	f.StringVar(&check, "check", "", "check this proof `file`")
	trust.register(c)
	keys.register(c)
	return c
}

func prove(t *terminal, keys *keyFlags, path string, what *proveFlags) error {
	ids, err := keys.load()
	if err != nil {
		return err
	}
	f, size, err := replay.OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var p any
	if what.snapshot != "" {
		tape, oerr := replay.New(path, f, size, replay.Options{Identities: ids})
		if oerr != nil {
			return fmt.Errorf("%s: %w", path, oerr)
		}
		id, ferr := findSnapshot(tape, what.snapshot)
		if ferr != nil {
			return fmt.Errorf("%s: %w", path, ferr)
		}
		p, err = format.ProvePage(f, size, id, what.page, ids...)
	} else {
		p, err = format.Prove(f, size, what.seq, ids...)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if what.out == "" {
		_, err = t.out.Write(b)
		return err
	}
	return writeFile(t, what.out, func(f *os.File) ([]string, error) {
		_, err := f.Write(b)
		return nil, err
	})
}

// findSnapshot is the id on the tape of what the user calls a snapshot: one of memory
// by the number that info and --at give it, or a disk's base by the disk's name.
func findSnapshot(tape *replay.Tape, name string) (uint32, error) {
	if n, err := strconv.Atoi(strings.TrimPrefix(name, "#")); err == nil {
		for _, m := range tape.Snapshots() {
			if m.Snapshot == n {
				return m.ID, nil
			}
		}
		return 0, fmt.Errorf("no memory snapshot #%d", n)
	}
	disk, nth, numbered := strings.Cut(name, "#")
	named := map[format.StreamID]bool{}
	for _, s := range tape.Streams(format.StreamDisk) {
		named[s.ID] = s.Name == disk
	}
	var bases []uint32
	for _, s := range tape.Reader().Snapshots() {
		if named[s.Begin.Stream] {
			bases = append(bases, s.Begin.ID)
		}
	}
	n := 1
	if numbered {
		var err error
		if n, err = strconv.Atoi(nth); err != nil {
			return 0, fmt.Errorf("snapshot %q: a disk's base is named as xvda, or xvda#2", name)
		}
	}
	switch {
	case n < 1 || n > len(bases):
		return 0, fmt.Errorf("snapshot %q: the tape has %d bases of a disk of that name", name, len(bases))
	case !numbered && len(bases) > 1:
		return 0, fmt.Errorf("snapshot %q: the tape has %d bases of a disk of that name: say which, as %s#1", name, len(bases), disk)
	}
	return bases[n-1], nil
}

func checkProof(t *terminal, path string, trust *trustFlags) error {
	trusted, err := trust.keys()
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxProof+1))
	if err == nil && len(b) > maxProof {
		err = fmt.Errorf("%s: more than %d bytes: no proof is as large", path, maxProof)
	}
	if err != nil {
		return err
	}
	var kind struct {
		Record, Statements json.RawMessage
	}
	if err := json.Unmarshal(b, &kind); err != nil {
		return fmt.Errorf("%s: not a proof: %w", path, err)
	}
	var shown any
	switch {
	case kind.Statements != nil:
		shown, err = checkPageProof(b, trusted)
	case kind.Record != nil:
		shown, err = checkRecordProof(b, trusted)
	default:
		return fmt.Errorf("%s: not a proof: neither of a record nor of a page", path)
	}
	if err != nil {
		return &exitError{code: exitVerification, err: fmt.Errorf("%s: the proof does not hold: %w", path, err)}
	}
	return t.line(shown)
}

func checkRecordProof(b []byte, trusted [][]byte) (any, error) {
	var p format.Proof
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, err
	}
	return format.VerifyProof(&p, trusted)
}

func checkPageProof(b []byte, trusted [][]byte) (any, error) {
	var p format.PageProof
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, err
	}
	rep, err := format.VerifyPageProof(&p, trusted)
	if err != nil {
		return nil, err
	}
	return struct {
		*format.PageProofReport
		Content []byte `json:"content,omitempty"`
	}{rep, p.Content}, nil
}
