package format

import (
	"bytes"
	"encoding/json"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// TestTreeIsThatOfRFC6962 compares with an implementation others use.
func TestTreeIsThatOfRFC6962(t *testing.T) {
	var leaves [][32]byte
	var store []tlog.Hash
	read := tlog.HashReaderFunc(func(ix []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range ix {
			out = append(out, store[i])
		}
		return out, nil
	})
	for n := range int64(70) {
		data := []byte{byte(n), 1, 2}
		hs, err := tlog.StoredHashes(n, data, read)
		require.NoError(t, err)
		store = append(store, hs...)
		leaves = append(leaves, leafHash(data))
		want, err := tlog.TreeHash(n+1, read)
		require.NoError(t, err)
		require.Equal(t, [32]byte(want), treeRoot(leaves))
		for i := range leaves {
			p := inclusionProof(leaves, i)
			got, err := rootFromProof(leaves[i], uint64(i), uint64(len(leaves)), p)
			require.NoError(t, err)
			require.Equal(t, [32]byte(want), got)
			tp, err := tlog.ProveRecord(n+1, int64(i), read)
			require.NoError(t, err)
			require.Len(t, p, len(tp))
			for k := range tp {
				require.Equal(t, [32]byte(tp[k]), p[k])
			}
		}
	}
}

// TestCheckpointIsASignedNote reads tree heads with the reference implementation
// of signed notes, following the key from each to the next.
func TestCheckpointIsASignedNote(t *testing.T) {
	b := tinyTape(t, true, 9)
	r := openBytes(t, b, ReaderOptions{})
	key, n := r.Header().Signer, 0
	require.NotEmpty(t, key)
	for _, c := range r.chunks {
		if c.head.Type != chunkCheckpoint {
			continue
		}
		body, err := r.body(c)
		require.NoError(t, err)
		cp, err := parseCheckpoint(body, r.tape)
		require.NoError(t, err)
		name := string(body[:bytes.IndexByte(body, '\n')])
		vk, err := note.NewEd25519VerifierKey(name, key)
		require.NoError(t, err)
		v, err := note.NewVerifier(vk)
		require.NoError(t, err)
		got, err := note.Open(body, note.VerifierList(v))
		require.NoError(t, err)
		require.Equal(t, cp.text, got.Text)
		tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + got.Text[len(name)+1:]))
		require.NoError(t, err)
		require.Equal(t, cp.root, [32]byte(tree.Hash))
		key = cp.next
		n++
	}
	require.Greater(t, n, 2)
}

func TestProveDisclosesOneRecord(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		o    WriterOptions
		ids  []age.Identity
	}{
		{"clear", WriterOptions{CheckpointEvery: 7, ChunkSize: PageSize}, nil},
		{"sealed to a recipient", WriterOptions{CheckpointEvery: 7, ChunkSize: PageSize, Recipients: []age.Recipient{id.Recipient()}}, []age.Identity{id}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Signer = testSigner(t)
			first := c.o.Signer.Public()
			b, recs := sampleTape(t, c.o, true)
			for _, want := range recs {
				seq := want.Header().Seq
				p, err := Prove(bytes.NewReader(b), int64(len(b)), seq, c.ids...)
				if a, ok := want.(*Attachment); ok && len(a.Data) > PageSize {
					require.ErrorContains(t, err, "in parts")
					continue
				}
				require.NoError(t, err, "record %d", seq)
				js, err := json.Marshal(p)
				require.NoError(t, err)
				var back Proof
				require.NoError(t, json.Unmarshal(js, &back))
				rep, err := VerifyProof(&back, [][]byte{first})
				require.NoError(t, err, "record %d", seq)
				require.Equal(t, SignatureTrusted, rep.Signature)
				require.Equal(t, want, rep.Record)
				_, err = VerifyProof(&back, [][]byte{make([]byte, 32)})
				require.Error(t, err)
			}
		})
	}
}

// TestProofHasNoSlack changes every byte of a proof's parts: none still verifies.
func TestProofHasNoSlack(t *testing.T) {
	b, _ := sampleTape(t, WriterOptions{Signer: testSigner(t), CheckpointEvery: 9, ChunkSize: PageSize}, true)
	p, err := Prove(bytes.NewReader(b), int64(len(b)), 30)
	require.NoError(t, err)
	_, err = VerifyProof(p, nil)
	require.NoError(t, err)
	parts := [][]byte{p.Record, p.Salt, p.Head, p.BodyHash, p.Signer}
	parts = append(append(parts, p.Path...), p.LogPath...)
	for i, part := range parts {
		for k := range part {
			part[k] ^= 4
			_, err := VerifyProof(p, nil)
			require.Error(t, err, "part %d, byte %d", i, k)
			part[k] ^= 4
		}
	}
	for i := range p.Checkpoints {
		text := p.Checkpoints[i]
		for k := range text {
			bad := []byte(text)
			bad[k] ^= 4
			p.Checkpoints[i] = string(bad)
			_, err := VerifyProof(p, nil)
			require.Error(t, err, "tree head %d, byte %d", i, k)
		}
		p.Checkpoints[i] = text
	}
	for _, n := range []*uint64{&p.Index, &p.Count, &p.Leaf, &p.Sequence} {
		*n++
		_, err := VerifyProof(p, nil)
		if n == &p.Count && err == nil {
			// One record more can leave the path as it is; the root binds the record all the same.
			*n--
			continue
		}
		require.Error(t, err)
		*n--
	}
}
