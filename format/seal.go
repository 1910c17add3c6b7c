package format

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"reflect"
	"sync"

	"filippo.io/age"
)

// epochKey encrypts the chunks of one epoch: AES-256-GCM, the chunk's number as
// nonce, its header and meta as additional data (SPEC.md §8).
type epochKey struct {
	epoch uint32
	block cipher.Block
	aead  cipher.AEAD

	mu    sync.Mutex
	users int // chunks that are still to be sealed with it
	ended bool
}

const epochKeySize = 32

// newEpochKey derives the chunk key from an epoch's key.
func newEpochKey(epoch uint32, secret []byte, tape [16]byte) (*epochKey, error) {
	k, err := hkdf.Key(sha256.New, secret, tape[:], "xentape v1 chunk", 32)
	if err != nil {
		return nil, fmt.Errorf("derive chunk key: %w", err)
	}
	defer clear(k)
	b, err := aes.NewCipher(k)
	if err != nil {
		return nil, fmt.Errorf("derive chunk key: %w", err)
	}
	a, err := cipher.NewGCM(b)
	if err != nil {
		return nil, fmt.Errorf("derive chunk key: %w", err)
	}
	return &epochKey{epoch: epoch, block: b, aead: a}, nil
}

// use tells that a chunk will be sealed with the key; done must follow.
func (k *epochKey) use() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.users++
}

func (k *epochKey) done() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.users--
	k.eraseUnused()
}

// end tells that no other chunk will use the key: with the last that does, it is
// erased.
func (k *epochKey) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	k.eraseUnused()
}

// eraseUnused overwrites the expanded keys, which the packages of the standard
// library keep in structs of their own and give no method to clear.
func (k *epochKey) eraseUnused() {
	if !k.ended || k.users > 0 {
		return
	}
	for _, v := range []any{k.block, k.aead} {
		if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer {
			p.Elem().SetZero()
		}
	}
}

func chunkNonce(number uint64) []byte {
	var n [12]byte
	binary.BigEndian.PutUint64(n[4:], number)
	return n[:]
}

// seal appends an encrypted body to dst. h.Number is never used twice with one key.
func (k *epochKey) seal(dst []byte, h *chunkHead, plain []byte) []byte {
	return k.aead.Seal(dst, chunkNonce(h.Number), plain, h.sealedAAD())
}

func (k *epochKey) open(h *chunkHead, stored []byte) ([]byte, error) {
	return k.aead.Open(nil, chunkNonce(h.Number), stored, h.sealedAAD())
}

// sealer makes epochs. The key of an epoch is erased when the epoch ends and its
// last chunk is sealed: the recording host cannot read its own past.
type sealer struct {
	recipients []age.Recipient
	rand       io.Reader
	tape       [16]byte
	epoch      uint32
	current    *epochKey
}

// rotate ends the epoch; the next chunk begins another.
func (s *sealer) rotate() {
	if s.current != nil {
		s.current.end()
		s.current = nil
	}
}

// begin draws the next epoch's key and wraps it.
func (s *sealer) begin() (*wrappedKey, error) {
	secret := make([]byte, epochKeySize)
	defer clear(secret)
	if _, err := io.ReadFull(s.rand, secret); err != nil {
		return nil, fmt.Errorf("draw epoch key: %w", err)
	}
	k, err := newEpochKey(s.epoch+1, secret, s.tape)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	a, err := age.Encrypt(&out, s.recipients...)
	if err != nil {
		return nil, fmt.Errorf("wrap epoch key: %w", err)
	}
	if _, err := a.Write(secret); err != nil {
		return nil, fmt.Errorf("wrap epoch key: %w", err)
	}
	if err := a.Close(); err != nil {
		return nil, fmt.Errorf("wrap epoch key: %w", err)
	}
	s.epoch++
	s.current = k
	return &wrappedKey{Epoch: s.epoch, Age: out.Bytes()}, nil
}

// unwrap opens a wrapped key.
func (k *wrappedKey) unwrap(tape [16]byte, ids []age.Identity) (*epochKey, error) {
	r, err := age.Decrypt(bytes.NewReader(k.Age), ids...)
	if err != nil {
		return nil, fmt.Errorf("key of epoch %d: %w", k.Epoch, err)
	}
	secret, err := io.ReadAll(io.LimitReader(r, epochKeySize+1))
	if err != nil {
		return nil, fmt.Errorf("key of epoch %d: %w", k.Epoch, err)
	}
	defer clear(secret)
	if len(secret) != epochKeySize {
		return nil, fmt.Errorf("key of epoch %d: %d bytes, want %d", k.Epoch, len(secret), epochKeySize)
	}
	return newEpochKey(k.Epoch, secret, tape)
}

// sealDraft gives a content chunk the key of the current epoch, beginning one
// where needed. The wrapped key is written twice, and again in the next index:
// one damaged chunk must not take an epoch with it.
func (w *Writer) sealDraft(d *draft) {
	if w.sealer == nil {
		return
	}
	if w.sealer.current == nil {
		k, err := w.sealer.begin()
		if err != nil {
			w.pipe.em.fail(err)
			return
		}
		for i := range 2 {
			w.submit(&draft{head: chunkHead{Type: chunkKey}, build: func(e *emitter, d *draft) error {
				if i == 0 {
					e.keys = append(e.keys, *k)
				}
				d.plain = k.append(nil)
				e.pack(d)
				return d.err
			}})
		}
	}
	d.key = w.sealer.current
	d.key.use()
}
