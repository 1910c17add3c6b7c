#!/usr/bin/python3
"""Checks proofs of records and pages, from format/SPEC.md alone (7.4 and 7.5).

    proof.py [-k PUBLIC-KEY] PROOF...

Prints a line of JSON for each: what it shows, or why it does not hold. It needs
neither the tape nor its keys. PUBLIC-KEY, in hexadecimal, is who must have signed.
"""

import base64
import json
import sys

import seal
from wire import TABLE, Bad, Cursor, crc32c, lead, leaf, sha


def b64(s):
    return base64.b64decode(s or "", validate=True)


def heads(p):
    """Size and root of the last tree head, after checking all (SPEC 7.2, 7.3)."""
    key = b64(p.get("signer"))
    size, root = 0, None
    for text in p["checkpoints"]:
        note = text.encode()
        lines = note.split(b"\n")
        size, root = int(lines[1]), base64.b64decode(lines[2], validate=True)
        want = [b"xentape/" + p["tape"].encode(), b"%d" % size, base64.b64encode(root)]
        if lines[:3] != want or len(root) != 32:
            raise Bad("tree head: not of this tape, or not in its one form")
        if key:
            origin = want[0]
            blob = lines[5].removeprefix("\N{EM DASH} ".encode() + origin + b" ")
            next_key = base64.b64decode(lines[3].removeprefix(b"next "), validate=True)
            if lines[3] != b"next " + base64.b64encode(next_key) or lines[4] or lines[6:] != [b""] or len(next_key) != 32:
                raise Bad("tree head: form")
            if lines[5] != "\N{EM DASH} ".encode() + origin + b" " + base64.b64encode(base64.b64decode(blob, validate=True)) or not seal.signed(note, key):
                raise Bad("tree head: signature")
            key = next_key
        elif lines[3:] != [b"", b""]:
            raise Bad("tree head: form")
    if root is None:
        raise Bad("no tree head")
    return size, root


def chunk(p, k, name, top):
    """The meta of a chunk that is shown to be under the tree head."""
    raw = b64(k["head"])
    h = Cursor(raw).struct("header")
    if raw[:4] != bytes.fromhex("f09f93bc") or len(raw) != 48 + h["meta_length"] or crc32c(raw[:44] + raw[48:]) != h["head_crc"]:
        raise Bad("chunk header")
    known = TABLE["chunks"].get(str(h["type"]))
    if not known or known["name"] != name or h["tape"].hex() != p["tape"]:
        raise Bad("chunk header: not of %s, or of another tape" % name)
    body = b64(k["body_hash"])
    if len(body) != 32 or lead(leaf(raw, body), k["leaf"], top[0], paths(k["log_path"])) != top[1]:
        raise Bad("log path")
    return Cursor(raw[48:]).struct(known["meta"])


def paths(ps):
    out = [b64(h) for h in ps or []]
    if any(len(h) != 32 for h in out):
        raise Bad("hash in a path")
    return out


def disclosed(d, value, count, root):
    salt = b64(d["salt"])
    if len(salt) != 16 or lead(leaf(salt, value), d["index"], count, paths(d["path"])) != root:
        raise Bad("path to the chunk's root")


def record(p, top):
    raw = b64(p["record"])
    m = chunk(p, p, "records", top)
    disclosed(p, raw, p["count"], m["root"])
    c = Cursor(raw)
    typ = c.value("u8", {})
    stamp = c.struct("stamp")
    if stamp["seq"] != p["sequence"]:
        raise Bad("another record")
    return {"type": typ, "seq": stamp["seq"], "time": stamp["time"], "stream": stamp["stream"], "sha256": sha(raw).hex()}


def page(p, top):
    run = stated(p, top)
    if run["state"] != p["state"]:
        raise Bad("state %d" % run["state"])
    out = {"snapshot": p["snapshot"], "page": p["page"], "state": run["state"], "stream": p["stream"]}
    content = b64(p.get("content"))
    if run["state"] != 1:
        if content or p.get("slot"):
            raise Bad("content of a page that has none")
        return out
    s = p["slot"]
    m = chunk(p, s["chunk"], "pages", top)
    if len(content) != 4096 or "root" not in m or m["pack"] != run["pack"] or s["slot"]["index"] != run["slot"] + p["page"] - run["start"]:
        raise Bad("not the slot that is stated")
    disclosed(s["slot"], sha(content), m["leaves"], m["root"])
    out["sha256"] = sha(content).hex()
    return out


def stated(p, top):
    """The run that holds the page; a made one when it is shown that none does."""
    snapshot, n = p["snapshot"], len(p["statements"])
    for i, s in enumerate(p["statements"]):
        m = chunk(p, s["chunk"], "map", top)
        if "root" not in m or m["snapshot"] != snapshot or m["stream"] != p["stream"] or not m["lo"] <= p["page"] < m["hi"]:
            raise Bad("map of something else")
        run = covering(s["runs"] or [], m, p["page"])
        if run is None and (m["full"] or not m["parent"]):
            run = {"state": 0}
        if run is not None:
            if i + 1 != n:
                raise Bad("statements after the one that counts")
            return run
        if m["parent"] >= snapshot:
            raise Bad("parent")
        snapshot = m["parent"]
    raise Bad("no statement")


def covering(shown, m, page):
    runs = []
    for d in shown:
        c = Cursor(b64(d["value"]))
        runs.append(c.struct("statement"))
        if c.left():
            raise Bad("statement")
        disclosed(d, c.b, m["leaves"], m["root"])
    at = [d["index"] for d in shown]
    if len(runs) == 1 and runs[0]["start"] <= page < runs[0]["start"] + runs[0]["count"]:
        return runs[0]
    after = [r["start"] > page for r in runs]
    before = [r["start"] + r["count"] <= page for r in runs]
    if (
        (not runs and not m["leaves"])
        or (len(runs) == 1 and at[0] == 0 and after[0])
        or (len(runs) == 1 and at[0] == m["leaves"] - 1 and before[0])
        or (len(runs) == 2 and at[1] == at[0] + 1 and before[0] and after[1])
    ):
        return None
    raise Bad("the runs shown do not tell")


def check(name, key):
    with open(name, encoding="utf-8") as f:
        p = json.load(f)
    try:
        if p["version"] != 1 or key and b64(p.get("signer")) != key:
            raise Bad("version or signer")
        top = heads(p)
        return record(p, top) if "record" in p else page(p, top)
    except (Bad, ValueError, KeyError, IndexError, TypeError) as e:
        return {"refused": "%s: %s" % (type(e).__name__, e)}


def main():
    args, key = sys.argv[1:], None
    if args[:1] == ["-k"]:
        key = bytes.fromhex(args[1])
        args = args[2:]
    for name in args:
        print(json.dumps(check(name, key)))


if __name__ == "__main__":
    main()
