package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// second is what the reader in Python makes of a tape.
type second struct {
	Refused   string `json:"refused"`
	Sealed    bool   `json:"sealed"`
	Signature string
	Damage    []struct{ Kind, Detail string }
	Records   []Record
	Pages     []Page
}

// python is Debian's: it has the modules that .ci/deps installs.
const python = "/usr/bin/python3"

// readSecond gives tapes to the reader in Python.
func readSecond(t *testing.T, identity string, tapes ...[]byte) []second {
	key := filepath.Join(t.TempDir(), "identity")
	require.NoError(t, os.WriteFile(key, []byte(identity), 0o600))
	return runPython[second](t, tapes, "reader/reader.py", "-i", key)
}

// runPython gives files to a program, one process for all of them, and returns what
// it makes of each.
func runPython[T any](t *testing.T, files [][]byte, args ...string) []T {
	t.Helper()
	dir := t.TempDir()
	for i, b := range files {
		name := filepath.Join(dir, strconv.Itoa(i))
		require.NoError(t, os.WriteFile(name, b, 0o600))
		args = append(args, name)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(python, args...)
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.Output()
	require.NoError(t, err, "%s\n(.ci/deps installs what it needs)", stderr.String())
	var all []T
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var v T
		require.NoError(t, d.Decode(&v))
		all = append(all, v)
	}
	require.Len(t, all, len(files))
	return all
}

// TestSecondReaderAgrees runs every vector through a reader that was written
// from the specification alone.
func TestSecondReaderAgrees(t *testing.T) {
	var tapes [][]byte
	for _, v := range All() {
		tapes = append(tapes, v.Bytes)
	}
	all := readSecond(t, identity, tapes...)
	for i, v := range All() {
		t.Run(v.Name, func(t *testing.T) {
			s := all[i]
			if v.Expect == "refuse" {
				require.NotEmpty(t, s.Refused)
				return
			}
			require.Empty(t, s.Refused)
			if v.Signature != "" {
				require.Equal(t, v.Signature, s.Signature)
			}
			require.Equal(t, v.Expect == "complete" || v.Expect == "damage" && s.Sealed, s.Sealed)
			if v.Expect == "damage" {
				require.True(t, slices.ContainsFunc(s.Damage, func(d struct{ Kind, Detail string }) bool { return slices.Contains(v.Kinds, d.Kind) }), "%v", s.Damage)
			} else {
				require.Empty(t, s.Damage)
			}
			for _, p := range v.Pages {
				require.Contains(t, s.Pages, p)
			}
			// What contradicts itself may be left out by one reader and not by another.
			if v.Records == nil || v.Name == "meta-root" || v.Name == "meta-types" {
				return
			}
			require.Equal(t, bare(v.Records), bare(s.Records))
			for i, r := range v.Records {
				for name, want := range r.Fields {
					js, err := json.Marshal(want)
					require.NoError(t, err)
					got, err := json.Marshal(s.Records[i].Fields[name])
					require.NoError(t, err)
					require.JSONEq(t, string(js), string(got), "record %d, %s", r.Seq, name)
				}
			}
		})
	}
}

// TestSecondReaderReadsWhatIsWritten compares the two on tapes of the Writer.
func TestSecondReaderReadsWhatIsWritten(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	for name, to := range map[string][]age.Recipient{"clear": nil, "sealed": {id.Recipient()}} {
		t.Run(name, func(t *testing.T) {
			b := written(t, to)
			r, err := format.Open(bytes.NewReader(b), int64(len(b)), format.ReaderOptions{Identities: []age.Identity{id}})
			require.NoError(t, err)
			s := readSecond(t, id.String(), b)[0]
			require.Empty(t, s.Damage)
			require.True(t, s.Sealed)
			require.Equal(t, read(t, r).records, bare(s.Records))
			require.NotEmpty(t, s.Pages)
			states := map[int]int{}
			for _, p := range s.Pages {
				states[p.State]++
				checkPage(t, r, p)
			}
			require.Greater(t, len(states), 4, "states of pages compared: %v", states)
		})
	}
}

// TestSecondReaderReadsWhatIsSaved compares the two on what salvage makes of signed
// tapes that lost chunks of one type: both find nothing wrong, and the same records.
func TestSecondReaderReadsWhatIsSaved(t *testing.T) {
	b := written(t, nil)
	types := []uint8{tHeader, tRecords, tPages, tIndex, tCheckpoint}
	var saved [][]byte
	for _, typ := range types {
		bad := bytes.Clone(b)
		hit := 0
		for _, c := range places(t, b) {
			// Of the header both copies, of the others every second.
			if c[0].typ != typ || typ != tHeader && c[0].chunk%2 == 0 {
				continue
			}
			for _, p := range c {
				if p.name == "body" {
					bad[p.start] ^= 1
					hit++
				}
			}
		}
		require.Positive(t, hit, "chunks of type %#x", typ)
		var out bytes.Buffer
		_, err := format.Salvage(&out, bytes.NewReader(bad), int64(len(bad)), format.SalvageOptions{})
		require.NoError(t, err)
		saved = append(saved, out.Bytes())
	}
	for i, s := range readSecond(t, identity, saved...) {
		src := bytes.NewReader(saved[i])
		rep, err := format.Verify(src, src.Size(), format.VerifyOptions{})
		require.NoError(t, err)
		require.True(t, rep.OK && rep.Sealed, "%+v", rep.Damage)
		r, err := format.Open(src, src.Size(), format.ReaderOptions{})
		require.NoError(t, err)
		require.Empty(t, s.Damage, "tape without chunks of type %#x", types[i])
		require.Equal(t, string(rep.Signature), s.Signature, "tape without chunks of type %#x", types[i])
		require.Equal(t, read(t, r).records, bare(s.Records))
	}
}

// written makes a tape with snapshots that build on one another, differences,
// attachments in parts, checkpoints and, with recipients, several epochs.
func written(t *testing.T, to []age.Recipient) []byte {
	rng := rand.New(rand.NewPCG(3, 4))
	key, err := format.NewSigningKey(rand.NewChaCha8([32]byte{5}))
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := format.NewWriter(&out, format.WriterOptions{ChunkSize: 8192, CheckpointEvery: 11, Recipients: to, Signer: key})
	require.NoError(t, err)
	mem, err := w.DefineStream(format.StreamDef{Kind: format.StreamMemory, Name: "memory"})
	require.NoError(t, err)
	net, err := w.DefineStream(format.StreamDef{Kind: format.StreamNetwork, Name: "vif0"})
	require.NoError(t, err)
	image := make([]byte, 48*format.PageSize)
	for i := range image {
		image[i] = byte(rng.IntN(5) * rng.IntN(50))
	}
	for id := range uint32(3) {
		s, err := w.BeginSnapshot(format.SnapshotBegin{Stamp: format.Stamp{Stream: mem, Time: int64(id)}, Parent: id, Pages: 60})
		require.NoError(t, err)
		for n := range 48 {
			require.NoError(t, s.Page(uint64(n), image[n*format.PageSize:][:format.PageSize]))
			require.NoError(t, w.Write(&format.Packet{Stamp: format.Stamp{Stream: net, Time: int64(n)}, LinkType: 1, Data: image[n*70:][:n]}))
		}
		require.NoError(t, s.State(format.Extent{Start: 50, Count: 3}, format.PageBallooned))
		require.NoError(t, s.State(format.Extent{Start: 53, Count: 1}, format.PageUnreadable))
		require.NoError(t, s.State(format.Extent{Start: uint64(55 + id), Count: 1}, format.PageZero))
		require.NoError(t, w.Write(&format.Attachment{Stamp: format.Stamp{Stream: mem}, Snapshot: s.ID(), Name: "xen/p2m", Data: image[:20000]}))
		require.NoError(t, s.End(format.SnapshotEnd{Conditions: format.Conditions{Method: "full"}}))
		for range 30 {
			image[rng.IntN(len(image))]++
		}
	}
	require.NoError(t, w.Seal())
	return out.Bytes()
}

// TestTablesOfTheSpecification: the fields in SPEC.md are those of tape.json,
// by which the second reader reads.
func TestTablesOfTheSpecification(t *testing.T) {
	spec, err := os.ReadFile("../../format/SPEC.md")
	require.NoError(t, err)
	js, err := os.ReadFile("reader/tape.json")
	require.NoError(t, err)
	var table struct {
		Magic   string
		Structs map[string][][]string
		Chunks  map[string]struct{ Name, Meta, Body string }
		Records map[string]string
	}
	require.NoError(t, json.Unmarshal(js, &table))
	found := map[string][][]string{}
	name := ""
	row := regexp.MustCompile("^\\| `([a-z0-9_]+)` \\| ([^ |]+) \\| (.*)\\|$")
	for _, line := range strings.Split(string(spec), "\n") {
		if s, ok := strings.CutPrefix(line, "<!-- struct "); ok {
			name = strings.TrimSuffix(s, " -->")
			require.NotContains(t, found, name)
			found[name] = [][]string{}
			continue
		}
		if m := row.FindStringSubmatch(line); m != nil && name != "" {
			found[name] = append(found[name], m[1:3])
		} else if !strings.HasPrefix(line, "|") {
			name = ""
		}
	}
	require.Len(t, found, len(table.Structs))
	for name, fields := range table.Structs {
		for i := range fields {
			require.Contains(t, [2]int{2, 3}, len(fields[i]))
			fields[i] = fields[i][:2]
		}
		require.Equal(t, fields, found[name], name)
	}
	require.Contains(t, string(spec), "`89 58 54 50 01 0d 0a 1a`")
	require.Equal(t, hex.EncodeToString([]byte(format.Magic)), table.Magic)
	require.Contains(t, table.Structs, "Mark")
	for n, name := range table.Records {
		require.Regexp(t, regexp.MustCompile(`(?m)^### 5\.\d+ `+name+` \(`+n+`\)$`), string(spec))
	}
	require.Len(t, table.Chunks, 10)
}
