package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/xentape/xentape/corpus"
)

// outputVerbs are the verbs whose --json output a corpus compares. What a case
// expects is exactly what a person would get from the verb.
var outputVerbs = map[string]bool{"ps": true, "files": true, "conns": true, "story": true}

// analyzeOutputs runs the verbs in process. That something could not be looked at
// (exit status 3) is part of the answer: expectations of such tapes are partial,
// and the output's own gap and summary lines say so. The story is told with these
// rules beside those that come with xentape.
func analyzeOutputs(keys *keyFlags, rules []string) corpus.Analyze {
	return func(ctx context.Context, tape string, outputs []string) (map[string][]byte, error) {
		got := map[string][]byte{}
		for _, o := range outputs {
			if !outputVerbs[o] {
				continue
			}
			args := []string{o, "--json"}
			for _, i := range keys.identities {
				args = append(args, "--identity", i)
			}
			for _, r := range rules {
				if o == "story" {
					args = append(args, "--rules", r)
				}
			}
			var out, errs bytes.Buffer
			code := run(ctx, append(args, tape), strings.NewReader(""), &out, &errs)
			if code != exitDone && code != exitIncomplete {
				return nil, fmt.Errorf("%s: %s", o, strings.TrimSpace(errs.String()))
			}
			got[o] = out.Bytes()
		}
		return got, nil
	}
}
