// Command digest prints the SHA-256 of what the analyzers say of tapes: one line an
// output. It links the analyzers and nothing else, so that a test can compile it for
// several machines and compare.
//
//	digest [-workers N] TAPE...
package main

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/xentape/xentape/analyze/story"
	"github.com/xentape/xentape/replay"
)

func main() {
	workers := flag.Int("workers", 0, "of the packet analysis")
	flag.Parse()
	for _, path := range flag.Args() {
		if err := digest(os.Stdout, path, *workers); err != nil {
			fmt.Fprintln(os.Stderr, "digest:", err)
			os.Exit(1)
		}
	}
}

// digest writes the lines of one tape.
func digest(w io.Writer, path string, workers int) error {
	tape, err := replay.Open(path, replay.Options{})
	if err != nil {
		return err
	}
	defer tape.Close()
	rules, err := story.Rules()
	if err != nil {
		return err
	}
	engine := story.NewEngine(tape, story.Options{Rules: rules, Workers: workers})
	told, err := engine.Run(nil)
	if err != nil {
		return err
	}
	outputs := []struct {
		name  string
		items []any
	}{{name: "ps"}, {name: "files"}, {name: "conns"}, {name: "story"}, {name: "problems"}}
	for _, p := range engine.Processes().Processes() {
		outputs[0].items = append(outputs[0].items, p)
	}
	outputs[0].items = append(outputs[0].items, engine.Processes().Summary())
	for _, e := range engine.FileEvents() {
		outputs[1].items = append(outputs[1].items, e)
	}
	for c := range engine.Network().Conns() {
		outputs[2].items = append(outputs[2].items, c)
	}
	for _, i := range told.Items {
		outputs[3].items = append(outputs[3].items, i)
	}
	for _, p := range engine.Problems() {
		outputs[4].items = append(outputs[4].items, p)
	}
	for _, o := range outputs {
		h := sha256.New()
		e := json.NewEncoder(h)
		for _, i := range o.items {
			if err := e.Encode(i); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "%s %-8s %5d %x\n", filepath.Base(path), o.name, len(o.items), h.Sum(nil)); err != nil {
			return err
		}
	}
	return nil
}
