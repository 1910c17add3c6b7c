package format

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRecord: what is accepted encodes again to the same bytes.
func FuzzRecord(f *testing.F) {
	_, recs := sampleTape(f, WriterOptions{}, true)
	require.NotEmpty(f, recs)
	seen := map[RecordType]bool{}
	for _, r := range recs {
		b, err := AppendRecord(nil, r)
		require.NoError(f, err)
		if !seen[TypeOf(r)] || len(b) < 300 {
			f.Add(b)
		}
		seen[TypeOf(r)] = true
	}
	require.Len(f, seen, 11, "a seed of every type")
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rest, err := parseStoredRest(b)
		if err != nil {
			require.Nil(t, r)
			return
		}
		p, part := r.(*attachmentPart)
		if part {
			require.Equal(t, b[:len(b)-len(rest)], appendAttachment(nil, &p.Attachment, p.total, p.offset, p.Data))
			return
		}
		if _, ok := r.(*unknownRecord); ok {
			return
		}
		again, err := AppendRecord(nil, r)
		require.NoError(t, err)
		require.Equal(t, b[:len(b)-len(rest)], again)
	})
}

// FuzzChunk: a header, meta or body that is accepted encodes again identically.
func FuzzChunk(f *testing.F) {
	for _, every := range []int{1000, 9} {
		b := tinyTape(f, true, every)
		r := openBytes(f, b, ReaderOptions{})
		require.NotEmpty(f, r.chunks)
		for _, c := range r.chunks {
			body, err := r.body(c)
			require.NoError(f, err)
			f.Add(uint8(c.head.Type), b[c.off:c.off+int64(chunkHeaderSize+len(c.head.Meta))], body)
		}
	}
	f.Fuzz(func(t *testing.T, typ uint8, head, body []byte) {
		if h, err := parseChunkHead(head); err == nil {
			require.Equal(t, head[:chunkHeaderSize+len(h.Meta)], h.append(nil))
			fuzzMeta(t, h.Meta)
		}
		fuzzBody(t, chunkType(typ), body)
	})
}

func fuzzMeta(t *testing.T, b []byte) {
	if m, err := parseRecordsMeta(b); err == nil {
		require.True(t, bytes.HasPrefix(b, m.append(nil)))
	}
	if m, err := parsePagesMeta(b); err == nil {
		require.True(t, bytes.HasPrefix(b, m.append(nil)))
	}
}

func fuzzBody(t *testing.T, typ chunkType, b []byte) {
	switch typ {
	case chunkHeader:
		if h, err := parseFileHeader(b); err == nil {
			require.True(t, bytes.HasPrefix(b, h.append(nil)))
		}
	case chunkIndex:
		if x, err := parseIndex(b, [16]byte{}); err == nil {
			require.LessOrEqual(t, len(x.append(nil)), len(b)) // a nested header may carry fields of a later version
		}
	case chunkCheckpoint:
		if c, err := parseCheckpoint(b, [16]byte{}); err == nil {
			require.Equal(t, c.text, checkpointText([16]byte{}, c.size, c.root, c.next))
		}
	case chunkLoss:
		if l, err := parseLoss(b); err == nil {
			require.True(t, bytes.HasPrefix(b, l.append(nil)))
		}
	case chunkMap, chunkPages:
		m := &pagesMeta{Limit: 64, Hi: 64, Pack: 1}
		if p, _, err := parseMapBody(b, m); err == nil {
			require.True(t, bytes.HasPrefix(b, appendRuns(nil, p)))
		}
		m.Slots = uint32(len(b) / PageSize)
		if p, err := parsePack(b, m); err == nil {
			require.True(t, bytes.HasPrefix(b, (&pack{runs: p.runs, bases: p.bases, data: p.data}).encode(nil)))
		}
	}
}

// FuzzTape: whatever the bytes, reading ends and stays within them; and what
// salvage accepts, it makes a tape of that verifies.
func FuzzTape(f *testing.F) {
	f.Add([]byte{}, uint32(0), uint32(0))
	for _, every := range []int{1000, 12} {
		f.Add(tinyTape(f, true, every), uint32(100), uint32(3))
		f.Add(tinyTape(f, false, every), uint32(9000), uint32(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, at, flip uint32) {
		if len(b) > 1<<16 {
			return
		}
		b = repair(b, at, flip)
		_, _, err := readEverything(t, b)
		var out bytes.Buffer
		_, serr := Salvage(&out, bytes.NewReader(b), int64(len(b)), SalvageOptions{})
		if err != nil {
			require.Error(t, serr)
			return
		}
		if serr != nil {
			return
		}
		v, err := Verify(bytes.NewReader(out.Bytes()), int64(out.Len()), VerifyOptions{})
		require.NoError(t, err)
		require.True(t, v.OK, "%+v", v.Damage)
		require.True(t, v.Sealed)
	})
}

// repair changes one byte and then makes the checksums of all chunks right
// again, so that fuzzing gets behind them: an enemy can compute them too.
func repair(b []byte, at, flip uint32) []byte {
	b = bytes.Clone(b)
	if len(b) == 0 {
		return b
	}
	b[int(at)%len(b)] ^= byte(flip)
	for off := len(Magic); off+chunkHeaderSize <= len(b); {
		n := metaLengthHint(b[off:])
		if n > maxMeta || off+chunkHeaderSize+n > len(b) {
			break
		}
		h := rawHead(b[off:], n)
		end := off + int(h.length())
		if h.Stored > maxStored || end > len(b) {
			break
		}
		stored := b[off+chunkHeaderSize+n:][:h.Stored]
		copy(b[off:end], finishChunk(&h, bytes.Clone(stored), nil))
		off = end
	}
	return b
}

// rawHead decodes a header whose checksum need not hold.
func rawHead(b []byte, n int) chunkHead {
	h, _ := parseChunkHead(b)
	h.Meta = bytes.Clone(b[chunkHeaderSize : chunkHeaderSize+n])
	return h
}

// FuzzProof: no proof that is not the one made verifies to another record.
func FuzzProof(f *testing.F) {
	b, recs := sampleTape(f, WriterOptions{Signer: testSigner(f), CheckpointEvery: 9, ChunkSize: PageSize}, true)
	p, err := Prove(bytes.NewReader(b), int64(len(b)), 30)
	require.NoError(f, err)
	want, err := AppendRecord(nil, recs[29])
	require.NoError(f, err)
	f.Add(p.Record, p.Salt, p.Head, p.BodyHash, p.Index, p.Count, p.Leaf)
	f.Fuzz(func(t *testing.T, record, salt, head, body []byte, index, count, leaf uint64) {
		q := *p
		q.Record, q.Salt, q.Head, q.BodyHash, q.Index, q.Count, q.Leaf = record, salt, head, body, index, count, leaf
		if _, err := VerifyProof(&q, nil); err == nil {
			require.Equal(t, want, record)
		}
	})
}

// FuzzWriter: records in any order and sizes come back as they went in.
func FuzzWriter(f *testing.F) {
	f.Add([]byte("some packets of different lengths"), uint16(4096), uint8(3))
	f.Add(bytes.Repeat([]byte{0, 9, 200, 31}, 90), uint16(5000), uint8(1))
	f.Fuzz(func(t *testing.T, plan []byte, chunk uint16, every uint8) {
		var out bytes.Buffer
		w, err := NewWriter(&out, WriterOptions{Rand: fixedRand(), ChunkSize: PageSize + int(chunk), CheckpointEvery: 2 + int(every)})
		require.NoError(t, err)
		var want []Record
		id := define(t, w, &want, StreamDef{Kind: StreamNetwork})
		for i, c := range plan {
			var r Record
			s := Stamp{Time: int64(int8(c)) * 1e9, Stream: id}
			switch c % 4 {
			case 0:
				r = &Packet{Stamp: s, Data: bytes.Repeat(plan[i:i+1], int(c)*11)}
			case 1:
				r = &Attachment{Stamp: s, Name: "a", Data: bytes.Repeat(plan[i:i+1], int(c)*90)}
			case 2:
				r = &Mark{Stamp: s, Text: string(plan[:i])}
			case 3:
				require.NoError(t, w.Flush())
				continue
			}
			require.NoError(t, w.Write(r))
			want = append(want, r)
		}
		require.NoError(t, w.Seal())
		r, err := Open(bytes.NewReader(out.Bytes()), int64(out.Len()), ReaderOptions{})
		require.NoError(t, err)
		require.Empty(t, r.Damage())
		i := 0
		for rec, err := range r.Records(Query{}) {
			require.NoError(t, err)
			a, err := AppendRecord(nil, rec)
			require.NoError(t, err)
			b, err := AppendRecord(nil, want[i])
			require.NoError(t, err)
			require.Equal(t, b, a)
			i++
		}
		require.Len(t, want, i)
		v, err := Verify(bytes.NewReader(out.Bytes()), int64(out.Len()), VerifyOptions{})
		require.NoError(t, err)
		require.True(t, v.Complete, "%+v", v.Damage)
	})
}

// FuzzPageProof: no proof that is not the one made shows another content.
func FuzzPageProof(f *testing.F) {
	b, want := pageTape(f, WriterOptions{Signer: testSigner(f), CheckpointEvery: 5, ChunkSize: 2 * PageSize, Rand: fixedRand()})
	p, err := ProvePage(bytes.NewReader(b), int64(len(b)), 4, 6)
	require.NoError(f, err)
	require.Len(f, p.Statements, 1)
	d := p.Statements[0].Runs[0]
	f.Add(p.Content, d.Value, p.Statements[0].Chunk.Head, p.Slot.Chunk.Head, d.Index, p.Slot.Slot.Index, uint8(p.State))
	f.Fuzz(func(t *testing.T, content, run, head, slotHead []byte, index, slot uint64, state uint8) {
		q := *p
		r := d
		r.Value, r.Index = run, index
		k := *p.Slot
		k.Chunk.Head, k.Slot.Index = slotHead, slot
		s := p.Statements[0]
		s.Chunk.Head, s.Runs = head, []Disclosed{r}
		q.Content, q.State, q.Statements, q.Slot = content, PageState(state), []MapProof{s}, &k
		if _, err := VerifyPageProof(&q, nil); err == nil {
			require.Equal(t, want[3][6], content)
			require.Equal(t, PageData, q.State)
		}
	})
}
