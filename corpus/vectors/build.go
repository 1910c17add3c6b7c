package vectors

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/zstd"
)

var tapeID = [16]byte{0xee, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// Types of chunk, SPEC.md §4.
const (
	tHeader, tKey, tRecords, tPages, tMap, tFooter = 0x81, 0x82, 0x83, 0x84, 0x85, 0x8f
	tIndex, tCheckpoint, tRepeat, tLoss            = 0x06, 0x07, 0x08, 0x09
)

// vals concatenates values: uint64 and int as uint (LEB128), int64 as int
// (zigzag), uint8 and bool as a byte, string with its length, [] of byte as is.
func vals(vs ...any) []byte {
	var b []byte
	for _, v := range vs {
		switch v := v.(type) {
		case int:
			b = binary.AppendUvarint(b, uint64(v))
		case uint64:
			b = binary.AppendUvarint(b, v)
		case int64:
			b = binary.AppendUvarint(b, uint64(v<<1)^uint64(v>>63))
		case uint8:
			b = append(b, v)
		case bool:
			b = append(b, map[bool]byte{true: 1}[v])
		case string:
			b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
		case []byte:
			b = append(b, v...)
		case [16]byte:
			b = append(b, v[:]...)
		case [32]byte:
			b = append(b, v[:]...)
		default:
			panic(fmt.Sprintf("no encoding of %T", v))
		}
	}
	return b
}

// chunk is a chunk laid out.
type chunk struct {
	typ, flags uint8
	number     uint64
	stored     []byte
	size       int
	meta       []byte
	off        int
	leaf       [32]byte
	crc        uint32
}

// tape collects chunks.
type tape struct {
	b       []byte
	head1   []byte // the file header's body, which indexes repeat
	chunks  []*chunk
	lost    int // of chunks: those that stand for runs that are not there
	indexed int // chunks before the last index
	index   int
	records []Record
	seq     uint64
	number  uint64
	key     ed25519.PrivateKey
	seed    [32]byte
	note    []byte
	aead    cipher.AEAD
	last    uint64 // for the footer; 0: seq
}

const magic = "\x89XTP\x01\r\n\x1a"

func newTape() *tape {
	t := &tape{b: []byte(magic)}
	t.header(fileHeader(1, 0, nil))
	return t
}

func fileHeader(major uint8, incompat int, signer []byte) []byte {
	b := vals(major, uint8(0), incompat, 0, tapeID, "vectors", 0, int64(5), 0, 0)
	return vals(b, anchorFields(), len(signer), signer)
}

func anchorFields() []byte {
	return vals([16]byte{1, 2}, int64(10), int64(1_700_000_000_000_000_000), int64(0), 250, false, 0, int64(-3))
}

func (t *tape) header(body []byte) {
	t.head1 = body
	t.add(tHeader, nil, body)
	t.add(tHeader, nil, body)
}

// lose puts the one leaf that stands for a run of lost chunks into the log.
func (t *tape) lose() {
	t.chunks = append(t.chunks, &chunk{})
	t.lost++
}

// add appends a chunk whose stored body is given.
func (t *tape) add(typ uint8, meta, stored []byte) *chunk {
	t.number++
	return t.put(&chunk{typ: typ, number: t.number, meta: meta, stored: stored, size: len(stored)})
}

// put lays out a chunk at the end of the file.
func (t *tape) put(c *chunk) *chunk {
	c.off = len(t.b)
	pad := -(48 + len(c.meta) + len(c.stored)) & 7
	rest := append(slices.Clone(c.stored), make([]byte, pad)...)
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	c.crc = crc32.Checksum(rest, castagnoli)
	h := []byte{0xf0, 0x9f, 0x93, 0xbc, c.typ, c.flags}
	h = binary.LittleEndian.AppendUint16(h, uint16(len(c.meta)))
	h = append(h, tapeID[:]...)
	h = binary.LittleEndian.AppendUint64(h, c.number)
	for _, v := range []uint32{uint32(len(c.stored)), uint32(c.size), c.crc} {
		h = binary.LittleEndian.AppendUint32(h, v)
	}
	h = binary.LittleEndian.AppendUint32(h, crc32.Checksum(append(slices.Clone(h), c.meta...), castagnoli))
	head := append(h, c.meta...)
	sum := sha256.Sum256(rest)
	c.leaf = hash(0, head, sum[:])
	t.b = append(append(t.b, head...), rest...)
	t.chunks = append(t.chunks, c)
	return c
}

func hash(kind byte, parts ...[]byte) [32]byte {
	return sha256.Sum256(append([]byte{kind}, bytes.Join(parts, nil)...))
}

// mth is MTH of RFC 6962 §2.1, as written there.
func mth(leaves [][32]byte) [32]byte {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	l, r := mth(leaves[:k]), mth(leaves[k:])
	return hash(1, l[:], r[:])
}

// rec is a record to be put in a chunk.
type rec struct {
	typ    uint8
	stream uint32
	kind   uint8
	time   int64
	fields []byte
	shown  map[string]any
	seq    uint64 // 0: the next
	later  bool   // a later part of an attachment
	digest []byte // what to hash instead of the record
}

func (r *rec) encode() []byte {
	return vals(r.typ, r.seq, r.time, 0, int(r.stream), r.fields)
}

// batch is what a records chunk says of itself; scenarios change it to lie.
type batch struct {
	typ     uint8
	lane    uint8
	recs    []rec
	codec   uint8
	settled uint64 // 0: the last
	change  func(meta *recordsMeta)
	hide    bool // do not expect these records
}

type recordsMeta struct {
	count, first, span, settled, types, streams int
	minTime                                     int64
	timeSpan                                    int
	root                                        [32]byte
	perStream                                   []byte
}

// write adds a records chunk.
func (t *tape) write(k batch) *chunk {
	if k.typ == 0 {
		k.typ = tRecords
	}
	salt := sha256.Sum256([]byte{byte(len(t.chunks) - t.lost)})
	body := slices.Clone(salt[:16])
	var m recordsMeta
	var leaves [][32]byte
	streams := map[uint32]*[3]int{}
	var maxTime int64
	lastSeq := 0
	for i := range k.recs {
		r := &k.recs[i]
		if r.seq == 0 {
			t.seq++
			r.seq = t.seq
		}
		enc := r.encode()
		s := sha256.Sum256(binary.LittleEndian.AppendUint32(slices.Clone(salt[:16]), uint32(i)))
		leaves = append(leaves, hash(0, s[:16], enc))
		body = append(body, vals(len(enc), enc)...)
		if i == 0 {
			m.first, m.minTime, maxTime = int(r.seq), r.time, r.time
		}
		lastSeq = int(r.seq)
		m.minTime, maxTime = min(m.minTime, r.time), max(maxTime, r.time)
		m.types |= 1 << r.typ
		n := streams[r.stream]
		if n == nil {
			n = &[3]int{int(r.kind)}
			streams[r.stream] = n
		}
		if !r.later {
			m.count++
			n[1]++
		}
		if r.typ == 3 {
			n[2]++
		}
		if k.typ == tRecords && !k.hide {
			t.expect(r, enc)
		}
	}
	m.span, m.timeSpan, m.root = lastSeq-m.first, int(maxTime-m.minTime), mth(leaves)
	m.settled = int(k.settled)
	if k.settled == 0 {
		m.settled = int(t.seq)
	}
	ids := []uint32{}
	for id := range streams {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	m.streams = len(ids)
	for _, id := range ids {
		n := streams[id]
		m.perStream = vals(m.perStream, int(id), uint8(n[0]), n[1], n[2])
	}
	if k.change != nil {
		k.change(&m)
	}
	meta := func(codec uint8, epoch int) []byte {
		return vals(codec, epoch, k.lane, m.count, m.first, m.span, m.settled, m.minTime, m.timeSpan, m.types, m.root, m.streams, m.perStream)
	}
	return t.content(k.typ, k.codec, body, meta)
}

func (t *tape) expect(r *rec, enc []byte) {
	if r.later || r.typ > 11 {
		return
	}
	if r.digest != nil {
		enc = r.digest
	}
	s := sha256.Sum256(enc)
	t.records = append(t.records, Record{Seq: r.seq, Type: r.typ, Time: r.time, Stream: r.stream, SHA256: hex.EncodeToString(s[:]), Fields: r.shown})
}

// content adds a chunk with a codec, sealed when the tape is.
func (t *tape) content(typ, codec uint8, body []byte, meta func(codec uint8, epoch int) []byte) *chunk {
	t.number++
	c := &chunk{typ: typ, number: t.number, size: len(body), stored: body}
	if codec == 1 {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(err)
		}
		c.stored = e.EncodeAll(body, nil)
	}
	c.meta = meta(codec, 0)
	if t.aead != nil {
		c.meta, c.flags = meta(codec, 1), 1
		h := []byte{0xf0, 0x9f, 0x93, 0xbc, c.typ, c.flags}
		h = binary.LittleEndian.AppendUint16(h, uint16(len(c.meta)))
		h = append(h, tapeID[:]...)
		h = binary.LittleEndian.AppendUint64(h, c.number)
		nonce := binary.BigEndian.AppendUint64(make([]byte, 4), c.number)
		c.stored = t.aead.Seal(nil, nonce, c.stored, append(h, c.meta...))
	}
	return t.put(c)
}

func (t *tape) seal(epochKey []byte) {
	k, err := hkdf.Key(sha256.New, epochKey, tapeID[:], "xentape v1 chunk", 32)
	if err != nil {
		panic(err)
	}
	b, err := aes.NewCipher(k)
	if err != nil {
		panic(err)
	}
	if t.aead, err = cipher.NewGCM(b); err != nil {
		panic(err)
	}
}

// end adds index, checkpoint and footer.
func (t *tape) end() []byte {
	t.head()
	return t.foot()
}

func (t *tape) head() {
	t.writeIndex(nil)
	t.checkpoint()
}

func (t *tape) writeIndex(keys []byte) {
	if keys == nil {
		keys = vals(0)
	}
	list := slices.DeleteFunc(slices.Clone(t.chunks[t.indexed:]), func(c *chunk) bool { return c.number == 0 })
	b := vals(t.index, len(t.head1), t.head1, keys, len(list))
	for _, c := range list {
		b = vals(b, c.off, c.leaf, c.typ, c.flags, c.number, len(c.stored), c.size, uint64(c.crc), len(c.meta), c.meta)
	}
	t.indexed = len(t.chunks)
	t.index = t.add(tIndex, vals(uint8(0), 0), b).off
}

func (t *tape) leaves() [][32]byte {
	var ls [][32]byte
	for _, c := range t.chunks {
		ls = append(ls, c.leaf)
	}
	return ls
}

func (t *tape) checkpoint() {
	root := mth(t.leaves())
	origin := fmt.Sprintf("xentape/%x", tapeID)
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, len(t.chunks), base64.StdEncoding.EncodeToString(root[:]))
	body := text + "\n"
	if t.key != nil {
		key := t.key
		t.seed = sha256.Sum256(append([]byte("xentape next signing key"), t.seed[:]...))
		t.key = ed25519.NewKeyFromSeed(t.seed[:])
		text += "next " + base64.StdEncoding.EncodeToString(t.key.Public().(ed25519.PublicKey)) + "\n"
		pub := key.Public().(ed25519.PublicKey)
		id := sha256.Sum256(slices.Concat([]byte(origin), []byte{'\n', 1}, pub))
		sig := append(id[:4:4], ed25519.Sign(key, []byte(text))...)
		body = text + "\n— " + origin + " " + base64.StdEncoding.EncodeToString(sig) + "\n"
	}
	t.add(tCheckpoint, t.note, []byte(body))
	t.note = []byte(body)
}

func (t *tape) foot() []byte {
	root := mth(t.leaves())
	m := binary.LittleEndian.AppendUint64(nil, uint64(t.index))
	if t.last == 0 {
		t.last = t.seq
	}
	m = binary.LittleEndian.AppendUint64(m, t.last)
	m = binary.LittleEndian.AppendUint64(m, uint64(len(t.chunks)))
	t.add(tFooter, append(m, root[:]...), nil)
	return t.b
}

// Records of use in several scenarios.

func streamDef(id int, kind uint8, name string) rec {
	return rec{typ: 1, stream: uint32(id), kind: kind, fields: vals(id, kind, name, [16]byte{7}, 3, 0, 1<<20, 1, "guest-type", "pvh")}
}

func mark(text string) rec { return rec{typ: 11, time: 9, fields: vals(text)} }

func packet(stream uint32, time int64, data string) rec {
	return rec{typ: 4, stream: stream, kind: 3, time: time, fields: vals(1, uint8(1), len(data), false, "", data)}
}

func marks(n int) []rec {
	var rs []rec
	for i := range n {
		rs = append(rs, mark(fmt.Sprintf("mark %d", i)))
	}
	return rs
}
