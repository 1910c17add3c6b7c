"""Values, chunks and the Merkle tree of a tape (format/SPEC.md sections 3 and 7).

The fields come from tape.json; nothing here names one that it need not.
"""

import hashlib
import json
import os

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "tape.json"), encoding="utf-8") as f:
    TABLE = json.load(f)

MAGIC = bytes.fromhex(TABLE["magic"])
FIXED = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}


class Bad(Exception):
    """The bytes are not what the specification says."""


class Refuse(Exception):
    """A tape that this reader must not read."""


def crc32c_table():
    out = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
        out.append(n)
    return out


CRC = crc32c_table()


def crc32c(b):
    c = 0xFFFFFFFF
    for x in b:
        c = CRC[(c ^ x) & 0xFF] ^ (c >> 8)
    return c ^ 0xFFFFFFFF


class Cursor:
    """Reads values from bytes, each checked before it is believed."""

    def __init__(self, b):
        self.b, self.at = b, 0

    def left(self):
        return len(self.b) - self.at

    def take(self, n):
        if n > self.left():
            raise Bad("value ends early")
        self.at += n
        return self.b[self.at - n : self.at]

    def uint(self):
        v, shift = 0, 0
        while True:
            x = self.take(1)[0]
            v |= (x & 0x7F) << shift
            if x < 0x80:
                break
            shift += 7
        if v >= 1 << 64:
            raise Bad("more than 64 bits")
        if shift and x == 0:
            raise Bad("not in shortest form")
        return v

    def value(self, kind, seen):
        if kind in FIXED:
            return int.from_bytes(self.take(FIXED[kind]), "little")
        if kind == "uint":
            return self.uint()
        if kind == "int":
            v = self.uint()
            return (v >> 1) ^ -(v & 1)
        if kind == "bool":
            v = self.take(1)[0]
            if v > 1:
                raise Bad("bool %d" % v)
            return v == 1
        if kind == "string":
            return self.take(self.uint()).decode("utf-8", "backslashreplace")
        if kind == "bytes":
            return self.take(self.uint())
        if kind in ("b16", "b32"):
            return self.take(int(kind[1:]))
        if kind == "b32*count":
            return [self.take(32) for _ in range(self.bound(seen["count"], 32))]
        if kind.startswith("[]"):
            return [self.struct(kind[2:]) for _ in range(self.bound(self.uint(), 1))]
        if kind.startswith("?"):
            return self.struct(kind[1:]) if self.value("bool", seen) else None
        raise KeyError(kind)

    def bound(self, n, size):
        if n * size > self.left():
            raise Bad("%d elements in %d bytes" % (n, self.left()))
        return n

    def struct(self, name):
        out = {}
        for field in TABLE["structs"][name]:
            if len(field) == 3 and not (self.left() if field[2] == "more" else holds(field[2], out)):
                continue
            out[field[0]] = self.value(field[1], out)
        return out


def holds(condition, seen):
    if "!=" in condition:
        name, v = condition.split("!=")
        return seen[name] != int(v)
    name, v = condition.split("=")
    return seen[name] == int(v)


def encode_uint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def encode_statement(r):
    """A run by itself, as a map chunk commits itself to it (SPEC 7.1)."""
    b = encode_uint(r["start"]) + encode_uint(r["count"]) + bytes([r["state"]])
    return b + encode_uint(r["pack"]) + encode_uint(r["slot"]) if r["state"] == 1 else b


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf(*parts):
    return sha(b"\0", *parts)


def salted(salt, i, value):
    """The leaf of a commitment (SPEC 7.1)."""
    return leaf(sha(salt, i.to_bytes(4, "little"))[:16], value)


def lead(at, index, size, path):
    """The root that a leaf and its audit path (RFC 6962 section 2.1.1) lead to."""
    if not 0 <= index < size:
        raise Bad("leaf %d of %d" % (index, size))
    path = list(path)

    def up(index, size):
        if size == 1:
            return at
        k = 1 << (size - 1).bit_length() - 1
        if not path:
            raise Bad("path too short")
        other = path.pop()
        if index < k:
            return sha(b"\1", up(index, k), other)
        return sha(b"\1", other, up(index - k, size - k))

    found = up(index, size)
    if path:
        raise Bad("path too long")
    return found


def root(leaves):
    """MTH of RFC 6962 section 2.1, level by level."""
    if not leaves:
        return sha()
    while len(leaves) > 1:
        up = [sha(b"\1", leaves[i], leaves[i + 1]) for i in range(0, len(leaves) - 1, 2)]
        if len(leaves) % 2:
            up.append(leaves[-1])
        leaves = up
    return leaves[0]
