package format

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// SigningKey signs tree heads. After each signature it becomes the next key of
// its line and the old one is erased: who takes the host over later cannot sign
// another past (SPEC.md §7.3).
type SigningKey struct {
	Generation uint32 // signatures made by the line before this key
	seed       [32]byte
}

// NewSigningKey draws the first key of a line.
func NewSigningKey(rand io.Reader) (*SigningKey, error) {
	k := &SigningKey{}
	if _, err := io.ReadFull(rand, k.seed[:]); err != nil {
		return nil, fmt.Errorf("draw signing key: %w", err)
	}
	return k, nil
}

const signingKeyPrefix = "XENTAPE-SIGNING-KEY-1"

// String encodes the key for keeping; it is secret.
func (k *SigningKey) String() string {
	return fmt.Sprintf("%s %d %s", signingKeyPrefix, k.Generation, base64.StdEncoding.EncodeToString(k.seed[:]))
}

// ParseSigningKey decodes what String encoded.
func ParseSigningKey(s string) (*SigningKey, error) {
	f := strings.Fields(s)
	if len(f) != 3 || f[0] != signingKeyPrefix {
		return nil, errors.New("not a xentape signing key")
	}
	k := &SigningKey{}
	if _, err := fmt.Sscanf(f[1], "%d", &k.Generation); err != nil {
		return nil, fmt.Errorf("signing key: generation %q: %w", f[1], err)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(f[2])
	if err != nil || len(b) != len(k.seed) {
		return nil, errors.New("signing key: seed is not 32 bytes in base64")
	}
	copy(k.seed[:], b)
	return k, nil
}

func (k *SigningKey) private() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k.seed[:]) }

// Public is the Ed25519 public key that verifies the next signature.
func (k *SigningKey) Public() []byte { return k.private().Public().(ed25519.PublicKey) }

// nextSeed is one-way: no key leads back to the one before it.
func (k *SigningKey) nextSeed() [32]byte {
	return sha256.Sum256(append([]byte("xentape next signing key"), k.seed[:]...))
}

// next is the key that follows.
func (k *SigningKey) next() *SigningKey {
	return &SigningKey{Generation: k.Generation + 1, seed: k.nextSeed()}
}

// evolve makes k the next key of its line.
func (k *SigningKey) evolve() { k.seed, k.Generation = k.nextSeed(), k.Generation+1 }

// checkpointText is what is signed: a C2SP checkpoint (origin, size, root) with
// the next public key as extension line.
func checkpointText(tape [16]byte, size uint64, root [32]byte, next []byte) string {
	t := fmt.Sprintf("xentape/%x\n%d\n%s\n", tape, size, base64.StdEncoding.EncodeToString(root[:]))
	if next != nil {
		t += "next " + base64.StdEncoding.EncodeToString(next) + "\n"
	}
	return t
}

// buildCheckpoint makes a checkpoint chunk over everything written before it.
func (e *emitter) buildCheckpoint(d *draft) error {
	k := e.signer
	var next []byte
	if k != nil {
		next = k.next().Public()
	}
	text := checkpointText(d.head.Tape, e.tree.size, e.tree.root(), next)
	d.plain = []byte(text + "\n")
	if k != nil {
		d.plain = append(d.plain, signatureLine(d.head.Tape, text, k)...)
		k.evolve()
	}
	// The tree head before is repeated in the meta: one lost checkpoint does not
	// break the line of keys.
	d.head.Meta = e.note
	e.note = d.plain
	e.pack(d)
	return d.err
}

// signatureLine is the line of a signed note: an em dash, the name, and in
// base64 the key's hash (4 bytes) and the signature.
func signatureLine(tape [16]byte, text string, k *SigningKey) string {
	name := fmt.Sprintf("xentape/%x", tape)
	h := noteKeyHash(name, k.Public())
	sig := ed25519.Sign(k.private(), []byte(text))
	return fmt.Sprintf("— %s %s\n", name, base64.StdEncoding.EncodeToString(append(h[:], sig...)))
}

// noteKeyHash is the key ID of a signed note's Ed25519 key (C2SP signed-note).
func noteKeyHash(name string, pub []byte) (h [4]byte) {
	s := sha256.Sum256(append(append([]byte(name+"\n"), 1), pub...))
	copy(h[:], s[:])
	return h
}

// checkpoint is a tree head as read.
type checkpoint struct {
	size      uint64
	root      [32]byte
	next      []byte // public key of the checkpoint after this one; nil when unsigned
	text      string
	keyHash   [4]byte
	signature []byte // nil when unsigned
}

// parseCheckpoint decodes a checkpoint chunk's body. It accepts exactly what
// buildCheckpoint makes: there is one text for one tree head.
func parseCheckpoint(b []byte, tape [16]byte) (*checkpoint, error) {
	text, sigs, ok := strings.Cut(string(b), "\n\n")
	if !ok {
		return nil, errors.New("checkpoint: no empty line")
	}
	c := &checkpoint{text: text + "\n"}
	lines := strings.Split(text, "\n")
	if len(lines) < 3 {
		return nil, errors.New("checkpoint: fewer than three lines")
	}
	if _, err := fmt.Sscanf(lines[1], "%d", &c.size); err != nil {
		return nil, fmt.Errorf("checkpoint: size %q: %w", lines[1], err)
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != len(c.root) {
		return nil, errors.New("checkpoint: root is not 32 bytes in base64")
	}
	copy(c.root[:], root)
	if len(lines) > 3 {
		key, ok := strings.CutPrefix(lines[3], "next ")
		if c.next, err = base64.StdEncoding.Strict().DecodeString(key); !ok || err != nil || len(c.next) != ed25519.PublicKeySize {
			return nil, errors.New("checkpoint: next key is not 32 bytes in base64")
		}
	}
	if checkpointText(tape, c.size, c.root, c.next) != c.text {
		return nil, errors.New("checkpoint: not of this tape, or not in its one form")
	}
	if (sigs == "") != (c.next == nil) {
		return nil, errors.New("checkpoint: next key without signature, or signature without next key")
	}
	if sigs == "" {
		return c, nil
	}
	enc, ok := strings.CutPrefix(sigs, fmt.Sprintf("— xentape/%x ", tape))
	enc, nl := strings.CutSuffix(enc, "\n")
	sig, err := base64.StdEncoding.Strict().DecodeString(enc)
	if !ok || !nl || err != nil || len(sig) != 4+ed25519.SignatureSize {
		return nil, errors.New("checkpoint: signature line malformed")
	}
	copy(c.keyHash[:], sig)
	c.signature = sig[4:]
	return c, nil
}

// verify checks the signature with a public key.
func (c *checkpoint) verify(tape [16]byte, pub []byte) error {
	if len(pub) != ed25519.PublicKeySize {
		return errors.New("public key is not of Ed25519")
	}
	if noteKeyHash(fmt.Sprintf("xentape/%x", tape), pub) != c.keyHash || !ed25519.Verify(pub, []byte(c.text), c.signature) {
		return errors.New("signature is not by this key")
	}
	return nil
}
