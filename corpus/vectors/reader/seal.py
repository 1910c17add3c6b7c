"""What of a tape needs cryptography: age identities, sealed bodies, signatures."""

import base64
import hashlib

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wire import Bad

BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def hkdf(secret, salt, info):
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(secret)


def unpad(s):
    return base64.b64decode(s + b"=" * (-len(s) % 4))


def identity(text):
    """The 32 bytes of an AGE-SECRET-KEY-1; its checksum is not looked at."""
    digits = [BECH32.index(c) for c in text.lower().split("1", 1)[1][:-6]]
    n = 0
    for d in digits:
        n = n << 5 | d
    return (n >> (len(digits) * 5 - 256)).to_bytes(32, "big")


def age_decrypt(b, secret):
    """The plaintext of a short age v1 file with an X25519 stanza."""
    header, _, rest = b.partition(b"\n---")
    payload = rest.partition(b"\n")[2]
    lines = header.split(b"\n")
    key = X25519PrivateKey.from_private_bytes(secret)
    own = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    for i, line in enumerate(lines):
        if not line.startswith(b"-> X25519 "):
            continue
        share = unpad(line.split(b" ")[2])
        shared = key.exchange(X25519PublicKey.from_public_bytes(share))
        wrap = hkdf(shared, share + own, b"age-encryption.org/v1/X25519")
        try:
            file_key = ChaCha20Poly1305(wrap).decrypt(bytes(12), unpad(lines[i + 1]), None)
        except InvalidTag:
            continue
        stream = hkdf(file_key, payload[:16], b"payload")
        return ChaCha20Poly1305(stream).decrypt(bytes(11) + b"\1", payload[16:], None)
    raise Bad("no stanza for this identity")


def open_body(epoch_key, tape, number, head, meta, stored):
    key = hkdf(epoch_key, tape, b"xentape v1 chunk")
    nonce = bytes(4) + number.to_bytes(8, "big")
    try:
        return AESGCM(key).decrypt(nonce, stored, head[:32] + meta)
    except InvalidTag as e:
        raise Bad("sealed body") from e


def signed(note, key):
    """Whether a signed note is signed by key, and the key it names as next."""
    text, _, sigs = note.partition(b"\n\n")
    text += b"\n"
    origin = text.split(b"\n")[0]
    blob = base64.b64decode(sigs.split(b" ")[2])
    want = hashlib.sha256(origin + b"\n\x01" + key).digest()[:4]
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(blob[4:], text)
    except InvalidSignature:
        return False
    return blob[:4] == want
