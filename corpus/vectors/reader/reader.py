#!/usr/bin/python3
"""Reads tapes, from format/SPEC.md alone, and prints what it makes of each, a line of JSON.

    reader.py [-i IDENTITY-FILE] TAPE...

It shares nothing with the reader in Go: where the two differ, one of them, or
the specification, is wrong. It is for tapes of test size: it reads them whole.
"""

import base64
import json
import sys

import zstandard

import seal
from wire import MAGIC, TABLE, Bad, Cursor, Refuse, crc32c, encode_statement, encode_uint, leaf, root, salted, sha

MAX_BODY = 16 << 20
SYNC = bytes.fromhex("f09f93bc")


class Tape:
    def __init__(self, data, identity=None):
        self.data, self.identity = data, identity
        self.damage = []
        self.chunks = {}
        self.header = None
        self.keys = {}
        self.packs, self.snapshots = {}, {}
        self.records, self.lost = {}, []
        self.absent = []  # packs that are referred to and not there
        self.saved = 0  # number of the last loss chunk
        self.footer = None
        self.signature = "none"

    def fault(self, kind, detail):
        self.damage.append({"kind": kind, "detail": str(detail)})

    # Finding chunks (SPEC 3.1)

    def scan(self):
        at = len(MAGIC)
        if self.data[:at] != MAGIC:
            self.fault("magic", self.data[:at].hex())
        tape, unread = None, None
        while at < len(self.data):
            c = self.head(at, tape)
            if c is None:
                unread = at if unread is None else unread
                at = self.data.find(SYNC, at + 1)
                if at < 0:
                    break
                continue
            if c["at"] + c["length"] > len(self.data):
                unread = at if unread is None else unread
                break
            if unread is not None:
                self.fault("header", "bytes %d to %d are no chunk" % (unread, at))
                unread = None
            tape = c["tape"]
            self.enter(c)
            at += c["length"]
        if unread is not None:
            self.fault("truncated", "no whole chunk from byte %d" % unread)
        if not self.chunks:
            raise Refuse("no chunk")

    def head(self, at, tape):
        raw = self.data[at : at + 48]
        if len(raw) < 48 or raw[:4] != SYNC:
            return None
        c = Cursor(raw).struct("header")
        if c["meta_length"] > 32767:
            return None
        c["meta"] = self.data[at + 48 : at + 48 + c["meta_length"]]
        if len(c["meta"]) < c["meta_length"] or crc32c(raw[:44] + c["meta"]) != c["head_crc"]:
            return None
        if c["size"] > MAX_BODY or c["stored"] > MAX_BODY + 1024 or not 0 < c["number"] <= 1 << 62:
            return None
        if tape is not None and c["tape"] != tape:
            return None
        n = 48 + c["meta_length"] + c["stored"]
        c.update(at=at, raw=raw, length=n + -n % 8)
        return c

    def enter(self, c):
        known = TABLE["chunks"].get(str(c["type"]))
        if known is None and c["type"] & 0x80:
            raise Refuse("critical chunk of type %#x" % c["type"])
        c["name"] = known["name"] if known else None
        if c["number"] in self.chunks:
            self.fault("duplicate", c["number"])
            return
        self.chunks[c["number"]] = c

    # Opening bodies (SPEC 4.2)

    def open(self, c):
        end = c["at"] + 48 + len(c["meta"])
        rest = self.data[end : c["at"] + c["length"]]
        if crc32c(rest) != c["body_crc"]:
            self.fault("body", c["number"])
            return None
        c["leaf"] = leaf(c["raw"], c["meta"], sha(rest))
        try:
            return self.unpack(c, rest[: c["stored"]])
        except (Bad, zstandard.ZstdError) as e:
            self.fault("content", "chunk %d: %s" % (c["number"], e))
            return None

    def unpack(self, c, body):
        known = TABLE["chunks"].get(str(c["type"]))
        codec = 0
        if known and known.get("meta") and c["name"] != "footer":
            c["info"] = Cursor(c["meta"]).struct(known["meta"])
            codec = c["info"]["codec"]
            if c["flags"] & 1:
                key = self.keys.get(c["info"]["epoch"])
                if key is None:
                    raise Bad("sealed, and no key")
                body = seal.open_body(key, c["tape"], c["number"], c["raw"], c["meta"], body)
        if codec == 1:
            if zstandard.frame_content_size(body) not in (-1, c["size"]):
                raise Bad("decompressed size")
            body = zstandard.ZstdDecompressor().decompress(body, max_output_size=max(c["size"], 1))
        elif codec:
            raise Bad("codec %d" % codec)
        if len(body) != c["size"]:
            raise Bad("size")
        return body

    # Reading everything

    def read(self):
        self.scan()
        order = [self.chunks[n] for n in sorted(self.chunks)]
        for c in order:
            body = self.open(c)
            if body is None:
                continue
            try:
                getattr(self, "read_" + (c["name"] or "unknown"))(c, body)
            except Bad as e:
                self.fault("content", "chunk %d: %s" % (c["number"], e))
        if not self.damage and not self.lost:
            for number, pack in self.absent:
                self.fault("content", "chunk %d: pack %d" % (number, pack))
        self.log(order)
        self.sequence(order)

    def read_unknown(self, c, body):
        pass

    def read_header(self, c, body):
        h = Cursor(body).struct("file_header")
        if h["major"] != 1 or h["incompat"] & ~1:
            raise Refuse("major %d, features %#x" % (h["major"], h["incompat"]))
        self.header = h

    def read_key(self, c, body):
        k = Cursor(body).struct("key")
        if self.identity:
            self.keys[k["epoch"]] = seal.age_decrypt(k["age"], self.identity)

    def read_records(self, c, body):
        m = c["info"]
        found = [r for r in self.split(body)]
        streams, types, leaves = {}, 0, []
        last = 0
        for i, (stored, raw, typ, stamp, fields) in enumerate(found):
            leaves.append(salted(body[:16], i, stored))
            begins = not (typ == 9 and fields["offset"])
            n = streams.setdefault(stamp["stream"], [0, 0])
            n[0] += begins
            n[1] += typ == 3
            types |= 1 << typ
            if not m["first_seq"] <= stamp["seq"] <= m["first_seq"] + m["seq_span"]:
                raise Bad("sequence number not announced")
            if not m["min_time"] <= stamp["time"] <= m["min_time"] + m["time_span"]:
                raise Bad("time not announced")
            if begins and stamp["seq"] <= last and c["name"] == "records":
                raise Bad("sequence numbers do not ascend")
            last = stamp["seq"]
        want = {s["id"]: [s["count"], s["gaps"]] for s in m["streams"]}
        if want != streams or types != m["types"] or sum(n[0] for n in streams.values()) != m["count"]:
            raise Bad("not the records announced")
        if root(leaves) != m["root"]:
            raise Bad("commitments")
        if c["name"] == "records":
            for _, raw, typ, stamp, fields in found:
                self.record(c, raw, typ, stamp, fields)

    read_repeat = read_records

    def split(self, body):
        """Records as stored, and without the fields of later versions."""
        d = Cursor(body)
        d.take(16)
        while d.left():
            stored = d.take(d.uint())
            r = Cursor(stored)
            typ = r.value("u8", {})
            stamp = r.struct("stamp")
            name = TABLE["records"].get(str(typ))
            fields = r.struct(name) if name else None
            yield stored, stored[: r.at], typ, stamp, fields

    def record(self, c, raw, typ, stamp, fields):
        seq = stamp["seq"]
        old = self.records.get(seq)
        if typ == 9 and fields["offset"]:
            if old and old["typ"] == 9 and len(old["fields"]["data"]) == fields["offset"]:
                old["fields"]["data"] += fields["data"]
                old["parts"].append(raw)
            return
        if old:
            self.fault("sequence", "record %d comes twice" % seq)
            return
        self.records[seq] = {"raw": raw, "parts": [raw], "typ": typ, "stamp": stamp, "fields": fields, "chunk": c["number"]}

    def read_pages(self, c, body):
        m = c["info"]
        d = Cursor(body)
        contents = d.take(4096 * m["slots"])
        runs = self.runs(d, m["limit"])
        bases = d.value("[]base", {})
        if len(bases) != m["slots"]:
            raise Bad("slots")
        salt = d.take(16) if "root" in m else None
        if m["pack"] in self.packs or not m["pack"]:
            raise Bad("pack %d" % m["pack"])
        self.packs[m["pack"]] = bases, contents
        try:
            for i, b in enumerate(bases):
                if b["pack"] == m["pack"] and b["slot"] >= i:
                    raise Bad("difference to a later slot")
            self.refer(c, runs)
            if salt:
                self.commitments(m, salt, [self.slot(m["pack"], i) for i in range(m["slots"])])
        except Bad:
            del self.packs[m["pack"]]
            raise
        self.snapshot(m)["pages"][m["part"]] = runs, m

    def read_map(self, c, body):
        m = c["info"]
        d = Cursor(body)
        runs = self.runs(d, m["limit"])
        if "root" in m:
            salt = d.take(16)
            leaves = [salted(salt, i, encode_statement(r)) for i, r in enumerate(runs)]
            if len(runs) != m["leaves"] or root(leaves) != m["root"]:
                raise Bad("commitments to runs")
        self.snapshot(m)["maps"].append((m["lo"], m["hi"], runs, m))
        self.refer(c, runs)

    def commitments(self, m, salt, slots):
        """Commitments to pages, where all are there (SPEC 7.1)."""
        if m["leaves"] != m["slots"]:
            raise Bad("leaves")
        if all(state == 1 for state, _ in slots):
            if root([salted(salt, i, sha(page)) for i, (_, page) in enumerate(slots)]) != m["root"]:
                raise Bad("commitments to pages")

    def snapshot(self, m):
        return self.snapshots.setdefault(m["snapshot"], {"parent": m["parent"], "limit": m["limit"], "pages": {}, "maps": []})

    def runs(self, d, limit):
        out, at = [], 0
        n = d.uint()
        if n > 65536:
            raise Bad("%d runs" % n)
        for _ in range(n):
            r = d.struct("run")
            r["start"] += at
            at = r["start"] + r["count"]
            if r["start"] < 0 or not r["count"] or at > limit or r["state"] > 6:
                raise Bad("run")
            out.append(r)
        return out

    def refer(self, c, runs):
        for r in runs:
            if r["state"] != 1:
                continue
            if r["pack"] not in self.packs:
                self.absent.append((c["number"], r["pack"]))
            elif r["slot"] + r["count"] > len(self.packs[r["pack"]][0]):
                raise Bad("pack %d" % r["pack"])

    def read_index(self, c, body):
        x = Cursor(body).struct("index")
        if self.header is None and x["header"]:
            self.read_header(c, x["header"])
        c["previous"] = x["previous"]
        for e in x["entries"]:
            o = self.chunks.get(e["number"])
            if o and "leaf" in o and (o["leaf"] != e["leaf"] or o["meta"] != e["meta"] or o["body_crc"] != e["body_crc"]):
                raise Bad("chunk %d is not as listed" % e["number"])

    def read_checkpoint(self, c, body):
        c["note"] = body

    def read_loss(self, c, body):
        x = Cursor(body).struct("loss")
        self.lost.append(x)
        self.saved = c["number"]

    def read_footer(self, c, body):
        if c["at"] + c["length"] == len(self.data):
            self.footer = Cursor(c["meta"]).struct("footer")

    # The log (SPEC 7.2) and the sequence (5.1)

    def log(self, order):
        leaves, number, certain = [], 1, True
        key = self.header["signer"] if self.header else b""
        # Without a header, or where only salvage's own is left, the first key is not known.
        known = bool(key) or any(c["name"] == "header" and "leaf" in c for c in order)
        lost = {g["first"]: g for x in self.lost for g in x["chunks"]}
        for c in order:
            while number < c["number"]:
                g = lost.get(number)
                if g is None:
                    self.fault("missing", number)
                    g = {"count": c["number"] - number, "leaves_known": False}
                leaves += g["leaves"] if g["leaves_known"] else [bytes(32)]
                certain = certain and g["leaves_known"]
                known = False  # tree heads may be among what is lost
                number += g["count"]
            if self.saved and c["number"] == self.saved:
                # From here on it is who saved the tape that signs.
                key, known, certain = self.lost[-1]["signer"], True, True
            if number > self.saved and c.get("previous", 0) >= c["at"]:
                self.fault("content", "chunk %d: previous index does not come before" % number)
            if "note" in c:
                key = self.check_note(c, leaves if certain else None, key, known)
                known = True
            elif c["name"] == "checkpoint":
                known = False
            if c["name"] == "footer" and self.footer and certain and (self.footer["root"] != root(leaves) or self.footer["tree_size"] != len(leaves)):
                self.fault("footer", "root")
            leaves.append(c.get("leaf", bytes(32)))
            certain = certain and "leaf" in c
            number += 1

    def check_note(self, c, leaves, key, known):
        """The key of the next tree head; known: key is that of this one (SPEC 7.2, 7.3)."""
        note = c["note"]
        lines = note.split(b"\n")
        if leaves is not None and (int(lines[1]) != len(leaves) or base64.b64decode(lines[2]) != root(leaves)):
            self.fault("tree", c["number"])
        signs = lines[3].startswith(b"next ")
        held = seal.signed(note, key) if signs and key else not signs and not key
        if not held and signs and not known:
            self.signature = "unlinked"
        elif not held:
            self.signature = "bad"
            self.fault("signature", c["number"])
        elif signs and self.signature == "none" and (not self.saved or leaves is not None and c["number"] < self.saved):
            self.signature = "valid"
        return base64.b64decode(lines[3][5:]) if signs else b""

    def sequence(self, order):
        lost = [(r["first"], r["last"]) for x in self.lost for r in x["records"]]
        want, claims, claim = 1, {}, 0
        for c in order:
            if c["name"] == "records" and "info" in c:
                claims[c["number"]] = claim
                claim = max(claim, c["info"]["settled"])
        for seq in sorted(self.records):
            gone = any(a <= seq <= b for a, b in lost)
            while want < seq and any(a <= want <= b for a, b in lost):
                want += 1
            if seq > want and not self.damage:
                self.fault("sequence", "record %d is missing" % want)
            if seq <= claims[self.records[seq]["chunk"]] and not gone:
                self.fault("sequence", "record %d was said to be settled" % seq)
            want = seq + 1

    # Answers

    def shown(self):
        out = []
        for seq in sorted(self.records):
            r = self.records[seq]
            f = r["fields"]
            if f is None:
                continue
            if r["typ"] == 9:
                if len(f["data"]) != f["total"]:
                    continue
                if len(r["parts"]) > 1:
                    # As one part: the first one's bytes up to its data, then all of it.
                    head = r["raw"][: -len(encode_bytes(bytes(self.first(r))))]
                    r["raw"] = head + encode_bytes(f["data"])
            out.append({
                "seq": seq, "type": r["typ"], "time": r["stamp"]["time"], "stream": r["stamp"]["stream"],
                "sha256": sha(r["raw"]).hex(), "fields": {k: plain(v) for k, v in f.items()},
            })
        return out

    def first(self, r):
        """Bytes of data in the first part of an attachment; they end its record."""
        c = Cursor(r["parts"][0])
        c.take(1)
        c.struct("stamp")
        return len(c.struct("Attachment")["data"])

    def pages(self):
        out = []
        for n in sorted(self.snapshots):
            for page in range(min(self.snapshots[n]["limit"], 64)):
                state, content = self.page(n, page)
                p = {"snapshot": n, "page": page, "state": state}
                if state == 1:
                    p["sha256"] = sha(content).hex()
                out.append(p)
        return out

    def page(self, n, page):
        s = self.snapshots.get(n)
        if s is None:
            return -1, None
        run, unknown = self.stated(s, page)
        if run is None:
            if unknown:
                return -1, None
            return self.page(s["parent"], page) if s["parent"] else (0, None)
        if run["state"] != 1:
            return run["state"], None
        return self.slot(run["pack"], run["slot"] + page - run["start"])

    def stated(self, s, page):
        """The run that states a page, and else whether that cannot be known."""
        for lo, hi, runs, m in s["maps"]:
            if lo <= page < hi:
                return next((r for r in runs if r["start"] <= page < r["start"] + r["count"]), None), False
        found, parts = None, sorted(s["pages"])
        whole = parts == list(range(len(parts))) and bool(parts) and bool(s["pages"][parts[-1]][1]["final"])
        restated = 0
        for p in parts:
            runs, m = s["pages"][p]
            if m["restated"] != restated:
                found = None
            restated = m["restated"] + m["again"]
            for r in runs:
                if r["start"] <= page < r["start"] + r["count"]:
                    found = r
        return found, not whole

    def slot(self, pack, slot):
        content = bytes(4096)
        for _ in range(9):
            if pack not in self.packs:
                return -1, None
            bases, data = self.packs[pack]
            if slot >= len(bases):
                return -1, None
            content = bytes(a ^ b for a, b in zip(content, data[4096 * slot : 4096 * slot + 4096]))
            if not bases[slot]["pack"]:
                return 1, content
            pack, slot = bases[slot]["pack"], bases[slot]["slot"]
        return -1, None


def encode_bytes(b):
    return encode_uint(len(b)) + b


def plain(v):
    if isinstance(v, bytes):
        return v.hex()
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    if isinstance(v, list):
        return [plain(x) for x in v]
    return v


def answer(name, key):
    with open(name, "rb") as f:
        t = Tape(f.read(), key)
    try:
        t.read()
    except Refuse as e:
        return {"refused": str(e)}
    return {"sealed": t.footer is not None, "signature": t.signature, "damage": t.damage, "records": t.shown(), "pages": t.pages()}


def main():
    args, key = sys.argv[1:], None
    if args[:1] == ["-i"]:
        with open(args[1], encoding="ascii") as f:
            key = seal.identity(f.read().strip())
        args = args[2:]
    for name in args:
        print(json.dumps(answer(name, key)))


if __name__ == "__main__":
    main()
