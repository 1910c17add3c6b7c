package vectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// shown is what a checker of proofs makes of one.
type shown struct {
	Refused  string
	Seq      uint64
	Type     uint8
	Snapshot uint32
	Page     uint64
	State    int
	SHA256   string
}

// checkSecond gives proofs to the checker in Python.
func checkSecond(t *testing.T, signer []byte, proofs ...[]byte) []shown {
	return runPython[shown](t, proofs, "reader/proof.py", "-k", hex.EncodeToString(signer))
}

// checkFirst gives a proof to the package's own checker.
func checkFirst(b, signer []byte) shown {
	if !bytes.Contains(b, []byte(`"snapshot"`)) {
		var p format.Proof
		if err := json.Unmarshal(b, &p); err != nil {
			return shown{Refused: err.Error()}
		}
		rep, err := format.VerifyProof(&p, [][]byte{signer})
		if err != nil {
			return shown{Refused: err.Error()}
		}
		s := sha256.Sum256(p.Record)
		return shown{Seq: p.Sequence, Type: uint8(format.TypeOf(rep.Record)), SHA256: hex.EncodeToString(s[:])}
	}
	var p format.PageProof
	if err := json.Unmarshal(b, &p); err != nil {
		return shown{Refused: err.Error()}
	}
	rep, err := format.VerifyPageProof(&p, [][]byte{signer})
	if err != nil {
		return shown{Refused: err.Error()}
	}
	return shown{Snapshot: rep.Snapshot, Page: rep.Page, State: int(rep.State), SHA256: rep.SHA256}
}

// TestSecondCheckerAgrees: proofs of records and pages hold for a checker that was
// written from the specification alone, and proofs in which any one value was
// changed hold for it exactly where they hold for the first: nowhere, but where
// what is then claimed is true as well.
func TestSecondCheckerAgrees(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	for name, to := range map[string][]age.Recipient{"clear": nil, "sealed": {id.Recipient()}} {
		t.Run(name, func(t *testing.T) {
			b := written(t, to)
			src, size := bytes.NewReader(b), int64(len(b))
			r, err := format.Open(src, size, format.ReaderOptions{})
			require.NoError(t, err)
			signer := r.Header().Signer
			var good [][]byte
			add := func(p any, err error) {
				require.NoError(t, err)
				js, err := json.Marshal(p)
				require.NoError(t, err)
				good = append(good, js)
			}
			for _, seq := range []uint64{1, 2, 3, 40, 90} {
				add(format.Prove(src, size, seq, id))
			}
			for _, page := range []uint64{0, 3, 17, 47, 48, 51, 53, 54, 55, 57, 59} {
				add(format.ProvePage(src, size, 3, page, id))
				add(format.ProvePage(src, size, 1, page, id))
			}
			states := map[int]bool{}
			for i, s := range checkSecond(t, signer, good...) {
				require.Empty(t, s.Refused, "%s", good[i])
				require.Equal(t, checkFirst(good[i], signer), s)
				states[s.State] = true
			}
			require.Equal(t, []int{0, 1, 2, 3, 4}, slices.Sorted(maps.Keys(states)), "states of pages proved")

			var bad [][]byte
			var what []string
			for _, js := range [][]byte{good[3], good[5], good[7], good[15]} {
				var v any
				require.NoError(t, json.Unmarshal(js, &v))
				eachChange(v, "", func(at string) {
					m, err := json.Marshal(v)
					require.NoError(t, err)
					bad, what = append(bad, m), append(what, at)
				})
			}
			require.Greater(t, len(bad), 100)
			for i, s := range checkSecond(t, signer, bad...) {
				first := checkFirst(bad[i], signer)
				require.Equal(t, first.Refused != "", s.Refused != "", "%s: %q and %q", what[i], first.Refused, s.Refused)
				switch {
				case s.Refused != "":
				case strings.HasSuffix(what[i], ".count"), strings.HasSuffix(what[i], ".page"):
					// One more record can leave the path as it is; and the run
					// that is shown may state the next page too.
					require.Equal(t, first, s)
				default:
					t.Errorf("%s: changed, and the proof holds", what[i])
				}
			}
		})
	}
}

// eachChange changes every value below v, one at a time, and calls f with it.
func eachChange(v any, at string, f func(at string)) {
	changed := func(e any) any {
		switch e := e.(type) {
		case float64:
			return e + 1
		case string:
			return changeText(e)
		}
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			old := v[k]
			if n := changed(old); n != nil {
				v[k] = n
				f(at + "." + k)
				v[k] = old
			}
			eachChange(old, at+"."+k, f)
		}
	case []any:
		for i, old := range v {
			if n := changed(old); n != nil {
				v[i] = n
				f(fmt.Sprint(at, i))
				v[i] = old
			}
			eachChange(old, fmt.Sprint(at, i), f)
		}
	}
}

// changeText changes one byte: of what base64 holds, of text as it is.
func changeText(s string) string {
	if b, err := base64.StdEncoding.DecodeString(s); err == nil && len(b) > 0 {
		b[len(b)/2] ^= 1
		return base64.StdEncoding.EncodeToString(b)
	}
	b := []byte(s)
	b[len(b)/2] ^= 1
	return string(b)
}
