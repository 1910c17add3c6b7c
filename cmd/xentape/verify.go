package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// trustFlags name the signers a user believes.
type trustFlags struct{ signers []string }

func (f *trustFlags) register(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.signers, "signer", nil, "Ed25519 public `key` (hex) that must have begun the signatures (repeatable)")
}

func (f *trustFlags) keys() ([][]byte, error) {
	var keys [][]byte
	for _, s := range f.signers {
		k, err := hex.DecodeString(s)
		if err != nil || len(k) != 32 {
			return nil, usagef("--signer %q: want 64 hexadecimal digits", s)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func newVerifyCommand(t *terminal) *cobra.Command {
	var keys keyFlags
	var trust trustFlags
	var asJSON, unfinished bool
	c := &cobra.Command{
		Use:     "verify TAPE...",
		GroupID: "tape",
		Short:   "Is every byte accounted for: chain, signatures, sequence, gaps",
		Long: `verify reads every byte. It needs no key: sealed content is checked from outside;
with --identity it is checked from inside too. Without --signer a signature shows
that nothing was changed since it was made, not who made it.` + "\n" + exitStatusHelp,
		Example: "  xentape verify incident.xtape\n  xentape verify --signer 7d5a… --json *.xtape",
		Args:    nargs(1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			ids, err := keys.load()
			if err != nil {
				return err
			}
			trusted, err := trust.keys()
			if err != nil {
				return err
			}
			bad := 0
			for _, path := range args {
				t.progress("verifying %s", path)
				rep, err := verifyFile(path, format.VerifyOptions{Identities: ids, TrustedKeys: trusted})
				t.clearProgress()
				if err != nil {
					return err
				}
				ok := rep.OK && (rep.Sealed || unfinished)
				if asJSON {
					err = t.line(struct {
						Tape string `json:"tape"`
						*format.VerifyReport
					}{path, rep})
				} else {
					printVerify(t, path, rep, ok)
				}
				if err != nil {
					return err
				}
				if !ok {
					bad++
				}
			}
			if bad > 0 {
				return &exitError{code: exitVerification, err: fmt.Errorf("%d of %d tapes do not verify", bad, len(args))}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a tape")
	c.Flags().BoolVar(&unfinished, "unfinished", false, "do not fail a tape only because it is not sealed")
	trust.register(c)
	keys.register(c)
	return c
}

func verifyFile(path string, o format.VerifyOptions) (*format.VerifyReport, error) {
	f, size, err := replay.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rep, err := format.Verify(f, size, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rep, nil
}

func printVerify(t *terminal, path string, r *format.VerifyReport, ok bool) {
	verdict := t.style(styleGood, "ok")
	if !ok {
		verdict = t.style(styleAlert, "NOT OK")
	}
	t.printf("%s: %s\n", printable(path), verdict)
	state := "sealed"
	if !r.Sealed {
		state = "not sealed: the recording was cut off or goes on"
		if info, err := os.Stat(path + format.SpoolSuffix); err == nil && info.Size() > 0 {
			state += "; more of a snapshot is in " + printable(path+format.SpoolSuffix) + ", which salvage takes"
		}
	}
	t.printf("  %s; %d chunks, %d records, last number %d\n", state, r.Chunks, r.Records, r.LastSeq)
	t.printf("  tree of %d leaves, root %s\n", r.TreeSize, r.Root)
	t.printf("  %d tree heads, signature %s, covering %d chunks\n", len(r.Checkpoints), r.Signature, r.SignedChunks)
	if r.Unread > 0 {
		t.printf("  %d chunks are sealed and were checked from outside (--identity looks inside)\n", r.Unread)
	}
	t.printf("  %d gaps recorded, %d losses recorded by salvage\n", r.Gaps, len(r.Losses))
	for i := range r.Damage {
		t.printf("  %s %s\n", t.style(styleAlert, "damage"), printable(r.Damage[i].Error()))
	}
}

func newSalvageCommand(t *terminal) *cobra.Command {
	var keys keyFlags
	var out, spool string
	var asJSON bool
	c := &cobra.Command{
		Use:     "salvage TAPE -o OUT",
		GroupID: "tape",
		Short:   "Rewrite what survives of a damaged or unfinished tape",
		Long: `salvage copies every chunk that holds, byte for byte, so that signatures made before
the damage still hold; what is lost stands on the new tape as gap records. The new
tape verifies. It ends with status 3 when something was lost, or when the recording
was not completed: what would have come after its end is not known.

A recorder that is killed while it puts a snapshot onto the tape leaves the rest of
the snapshot in a file beside it, TAPE.spool: salvage takes it from there.` + "\n" + exitStatusHelp,
		Example: "  xentape salvage damaged.xtape -o saved.xtape && xentape verify saved.xtape",
		Args:    nargs(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			ids, err := keys.load()
			if err != nil {
				return err
			}
			src, size, err := replay.OpenFile(args[0])
			if err != nil {
				return err
			}
			defer src.Close()
			o := format.SalvageOptions{Identities: ids}
			beside, err := openSpool(args[0], spool)
			if err != nil {
				return err
			}
			if beside != nil {
				defer beside.Close()
				o.Spool, o.SpoolSize = beside, beside.size
			}
			var rep *format.SalvageReport
			err = writeFile(t, out, func(f *os.File) (lost []string, err error) {
				rep, err = format.Salvage(f, src, size, o)
				if spool == "" && errors.Is(err, format.ErrSpool) {
					// It was not asked for: the tape is had without it.
					lost = append(lost, fmt.Sprintf("without %s: %v", beside.Name(), err))
					rep, err = salvageAgain(f, src, size, o)
				}
				return lost, err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if asJSON {
				err = t.line(rep)
			} else {
				printSalvage(t, out, rep)
			}
			if err == nil && !rep.Whole() {
				return incomplete
			}
			return err
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the `tape` to write")
	c.Flags().StringVar(&spool, "spool", "", "take the rest of the last snapshot from this `file`; without it, from TAPE.spool if there is one")
	c.Flags().BoolVar(&asJSON, "json", false, "the report as one JSON object")
	keys.register(c)
	return c
}

// salvageAgain salvages a tape without its spool, into a file that was begun.
func salvageAgain(f *os.File, src io.ReaderAt, size int64, o format.SalvageOptions) (*format.SalvageReport, error) {
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	o.Spool = nil
	return format.Salvage(f, src, size, o)
}

// spoolFile is a spool left beside a tape.
type spoolFile struct {
	*os.File
	size int64
}

// openSpool opens the spool of a tape: the one named, or the one beside it, if any.
func openSpool(tape, named string) (*spoolFile, error) {
	name := named
	if name == "" {
		name = tape + format.SpoolSuffix
	}
	f, err := os.Open(name)
	if named == "" && errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &spoolFile{f, info.Size()}, nil
}

func printSalvage(t *terminal, out string, r *format.SalvageReport) {
	t.printf("%s: %d chunks and %d records saved; ", printable(out), r.Chunks, r.Records)
	if r.LostChunks == 0 && r.LostRecords == 0 && r.LostPages == 0 {
		t.printf("nothing of them is lost\n")
	} else {
		t.printf("lost: %d chunks, %d records, %d pages; %d gap records say so\n", r.LostChunks, r.LostRecords, r.LostPages, r.Gaps)
	}
	if s := r.Spooled; s != nil && s.Needed {
		t.printf("  %d pages of snapshot %d come from its spool", s.Pages, s.Snapshot)
		switch {
		case s.Whole:
			t.printf(", and complete it\n")
		case s.Torn != "":
			t.printf(", which is torn: %s\n", s.Torn)
		default:
			t.printf("; it was not read to its end\n")
		}
	}
	if !r.WasSealed {
		t.printf("  the recording was not completed, or its end is lost: what came after is not known\n")
	}
	if r.Unread > 0 && !r.Whole() {
		t.printf("  %d chunks are sealed: without --identity it cannot be said which records, and whether pages, are lost\n", r.Unread)
	}
}
