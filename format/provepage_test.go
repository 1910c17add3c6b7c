package format

import (
	"bytes"
	"encoding/json"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
)

// pageTape has four snapshots that build on one another: pages stored whole, as
// they were, as differences, changed in state, and never stated.
func pageTape(t testing.TB, o WriterOptions) (b []byte, want []map[uint64][]byte) {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, o)
	require.NoError(t, err)
	mem, err := w.DefineStream(StreamDef{Kind: StreamMemory, Name: "memory"})
	require.NoError(t, err)
	image := map[uint64][]byte{}
	for n := range uint64(9) {
		image[3*n] = testPage(n)
	}
	for id := range uint32(4) {
		s, err := w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Stream: mem}, Parent: id, Pages: 40})
		require.NoError(t, err)
		p := bytes.Clone(image[6])
		p[100] = byte(id)
		image[6] = p
		for n := range uint64(28) {
			if image[n] != nil {
				require.NoError(t, s.Page(n, image[n]))
			}
		}
		require.NoError(t, s.State(Extent{30 + uint64(id), 1}, PageBallooned))
		require.NoError(t, s.End(SnapshotEnd{}))
		at := map[uint64][]byte{}
		for n, p := range image {
			at[n] = p
		}
		want = append(want, at)
	}
	require.NoError(t, w.Seal())
	return out.Bytes(), want
}

func TestProvePageDisclosesOnePage(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		to   []age.Recipient
		ids  []age.Identity
	}{{"clear", nil, nil}, {"sealed to a recipient", []age.Recipient{id.Recipient()}, []age.Identity{id}}} {
		t.Run(c.name, func(t *testing.T) {
			signer := testSigner(t)
			first := signer.Public()
			b, want := pageTape(t, WriterOptions{Signer: signer, CheckpointEvery: 5, ChunkSize: 2 * PageSize, Recipients: c.to})
			for i, image := range want {
				for n := range uint64(40) {
					p, err := ProvePage(bytes.NewReader(b), int64(len(b)), uint32(i+1), n, c.ids...)
					require.NoError(t, err, "snapshot %d, page %d", i+1, n)
					js, err := json.Marshal(p)
					require.NoError(t, err)
					var back PageProof
					require.NoError(t, json.Unmarshal(js, &back))
					rep, err := VerifyPageProof(&back, [][]byte{first})
					require.NoError(t, err, "snapshot %d, page %d", i+1, n)
					require.Equal(t, SignatureTrusted, rep.Signature)
					_, err = VerifyPageProof(&back, [][]byte{make([]byte, 32)})
					require.Error(t, err)
					switch {
					case image[n] != nil:
						require.Equal(t, PageData, rep.State)
						require.Equal(t, image[n], back.Content)
						for other, content := range image {
							if other != n {
								require.False(t, bytes.Contains(js, content[:64]), "page %d is in the proof of page %d", other, n)
							}
						}
					case n >= 30 && n < 31+uint64(i):
						require.Equal(t, PageBallooned, rep.State)
					default:
						require.Equal(t, PageAbsent, rep.State)
					}
				}
			}
			_, err := ProvePage(bytes.NewReader(b), int64(len(b)), 1, 40, c.ids...)
			require.ErrorContains(t, err, "beyond")
		})
	}
}

// TestPageProofHasNoSlack changes every byte of every part of proofs of a page
// that is stored, one that another snapshot states, and one that none does.
func TestPageProofHasNoSlack(t *testing.T) {
	b, _ := pageTape(t, WriterOptions{Signer: testSigner(t), CheckpointEvery: 5, ChunkSize: 2 * PageSize})
	for _, n := range []uint64{6, 12, 7, 39} {
		p, err := ProvePage(bytes.NewReader(b), int64(len(b)), 4, n)
		require.NoError(t, err)
		parts := [][]byte{p.Signer, p.Content}
		chunks := []*ChunkProof{}
		for i := range p.Statements {
			chunks = append(chunks, &p.Statements[i].Chunk)
			for _, d := range p.Statements[i].Runs {
				parts = append(append(parts, d.Salt, d.Value), d.Path...)
			}
		}
		if p.Slot != nil {
			chunks = append(chunks, &p.Slot.Chunk)
			parts = append(append(parts, p.Slot.Slot.Salt), p.Slot.Slot.Path...)
		}
		for _, k := range chunks {
			parts = append(append(parts, k.Head, k.BodyHash), k.LogPath...)
		}
		for i, part := range parts {
			for k := range part {
				part[k] ^= 16
				_, err := VerifyPageProof(p, nil)
				require.Error(t, err, "page %d: part %d, byte %d", n, i, k)
				part[k] ^= 16
			}
		}
		noSlackInNumbers(t, p)
		_, err = VerifyPageProof(p, nil)
		require.NoError(t, err)
	}
}

func noSlackInNumbers(t *testing.T, p *PageProof) {
	for name, change := range map[string]func(q *PageProof){
		"page":      func(q *PageProof) { q.Page += 100 },
		"snapshot":  func(q *PageProof) { q.Snapshot-- },
		"stream":    func(q *PageProof) { q.Stream++ },
		"state":     func(q *PageProof) { q.State = PageZero },
		"tape":      func(q *PageProof) { q.Tape = "00" + q.Tape[2:] },
		"no heads":  func(q *PageProof) { q.Checkpoints = nil },
		"no maps":   func(q *PageProof) { q.Statements = nil },
		"last map":  func(q *PageProof) { q.Statements = q.Statements[:len(q.Statements)-1] },
		"more maps": func(q *PageProof) { q.Statements = append(q.Statements[:1:1], q.Statements...) },
	} {
		q := *p
		change(&q)
		_, err := VerifyPageProof(&q, nil)
		require.Error(t, err, name)
	}
}

// TestPageCommitmentsAreChecked: a tape whose meta commits to other pages than it
// holds does not verify.
func TestPageCommitmentsAreChecked(t *testing.T) {
	b, _ := pageTape(t, WriterOptions{CheckpointEvery: 1000})
	require.True(t, verifyBytes(t, b, VerifyOptions{}).Complete)
	r := openBytes(t, b, ReaderOptions{})
	for _, typ := range []chunkType{chunkPages, chunkMap} {
		for _, c := range r.chunks {
			if c.head.Type != typ {
				continue
			}
			bad := bytes.Clone(b)
			m, err := parsePagesMeta(c.head.Meta)
			require.NoError(t, err)
			m.Commit.root[5] ^= 1
			h := c.head
			h.Meta = m.append(nil)
			n := chunkHeaderSize + len(h.Meta)
			copy(bad[c.off:c.end()], finishChunk(&h, bytes.Clone(b[c.off+int64(n):][:h.Stored]), nil))
			v := verifyBytes(t, bad, VerifyOptions{})
			require.NotEmpty(t, v.Damage)
			require.Equal(t, c.head.Number, v.Damage[0].Chunk)
			require.Equal(t, DamageContent, v.Damage[0].Kind)
			require.Contains(t, v.Damage[0].Detail, "commitments")
			break
		}
	}
}
