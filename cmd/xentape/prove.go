package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/format"
)

// maxProof bounds a proof file: a record of the largest size, in base64, and the
// paths and notes around it.
const maxProof = 64 << 20

func newProveCommand(t *terminal) *cobra.Command {
	var keys keyFlags
	var trust trustFlags
	var seq uint64
	var out, check string
	c := &cobra.Command{
		Use:     "prove TAPE --record N -o PROOF | prove --check PROOF",
		GroupID: "tape",
		Short:   "One record with proof that it is on the tape, without the rest",
		Long: `prove discloses one packet, one disk request or any other record, with the path
that leads from it to the tape's signed tree head. Whoever gets the proof checks it
without the tape and without its keys, and learns nothing of the other records.` + "\n" + exitStatusHelp,
		Example: "  xentape prove incident.xtape --record 4711 -o packet.proof\n  xentape prove --check packet.proof --signer 7d5a…",
		Args:    nargs(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if check != "" {
				if len(args) > 0 {
					return usagef("prove --check takes the proof alone: the tape is not needed")
				}
				return checkProof(t, check, &trust)
			}
			if len(args) != 1 || seq == 0 {
				return usagef("usage: xentape prove TAPE --record N [-o PROOF]")
			}
			return prove(t, &keys, args[0], seq, out)
		},
	}
	f := c.Flags()
	f.Uint64Var(&seq, "record", 0, "sequence `number` of the record, as evidence names it")
	f.StringVarP(&out, "output", "o", "", "the `file` to write; stdout when not given")
	f.StringVar(&check, "check", "", "check this proof `file`")
	trust.register(c)
	keys.register(c)
	return c
}

func prove(t *terminal, keys *keyFlags, path string, seq uint64, out string) error {
	ids, err := keys.load()
	if err != nil {
		return err
	}
	f, size, err := openSized(path)
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := format.Prove(f, size, seq, ids...)
	if err != nil {
		return fmt.Errorf("%s: record %d: %w", path, seq, err)
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if out == "" {
		_, err = t.out.Write(b)
		return err
	}
	return writeFile(t, out, func(f *os.File) ([]string, error) {
		_, err := f.Write(b)
		return nil, err
	})
}

func checkProof(t *terminal, path string, trust *trustFlags) error {
	trusted, err := trust.keys()
	if err != nil {
		return err
	}
	f, size, err := openSized(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if size > maxProof {
		return fmt.Errorf("%s: %d bytes: no proof is as large", path, size)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	var p format.Proof
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("%s: not a proof: %w", path, err)
	}
	rep, err := format.VerifyProof(&p, trusted)
	if err != nil {
		return &exitError{code: exitVerification, err: fmt.Errorf("%s: the proof does not hold: %w", path, err)}
	}
	r, err := format.ParseRecord(p.Record)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: the proof holds, but its record cannot be read: %w", path, err))
	}
	return t.line(struct {
		*format.ProofReport
		Record format.Record `json:"record"`
	}{rep, r})
}
