"""A second verifier of the log, written from TRANSPARENCY.md and the standards that it names, without a look at the first.

    second_verifier.py vectors VECTORS.json LOG.ndjson    checks the golden vectors
    second_verifier.py log LOG.ndjson CHECKPOINTS KEY     checks an export against its checkpoints

Prints what is wrong and ends with 1, or ends with 0. Needs nothing but Python's own library.
"""

import base64
import hashlib
import json
import re
import sys


class Wrong(Exception):
    pass


def ensure(condition, what):
    if not condition:
        raise Wrong(what)


# --- Ed25519 (RFC 8032, section 5.1.7), in affine coordinates: slow, and short.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def add(a, b):
    (ax, ay), (bx, by) = a, b
    product = D * ax * bx * ay * by
    x = (ax * by + bx * ay) * pow(1 + product, -1, P)
    y = (ay * by + ax * bx) * pow(1 - product, -1, P)
    return x % P, y % P


def times(scalar, point):
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def point(encoded):
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    ensure(y < P, "a point is not on the curve")
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    ensure(x * x % P == square and not (x == 0 and sign), "a point is not on the curve")
    return (x if x & 1 == sign else P - x), y


BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def is_signed(key, message, signature):
    ensure(len(signature) == 64, "a signature has 64 bytes")
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % ORDER
    return s < ORDER and times(s, BASE) == add(point(r), times(k, point(key)))


# --- Keys and notes (C2SP signed-note), checkpoints (C2SP tlog-checkpoint), cosignatures (C2SP tlog-cosignature).

LOG, WITNESS = 1, 4


def parse_key(text, kind=LOG):
    name, identity, encoded = text.strip().split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    ensure(key[0] == kind and len(key) == 33, "the key is not one of Ed25519, or of another kind")
    ensure(hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] == identity, "the key's id is wrong")
    return name, bytes.fromhex(identity), key[1:]


def open_checkpoint(note, key):
    name, identity, public = key
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        dash, signer, encoded = line.split(" ")
        signature = base64.b64decode(encoded, validate=True)
        if (dash, signer, signature[:4]) == ("\u2014", name, identity):
            ensure(is_signed(public, text.encode(), signature[4:]), f"a signature is wrong:\n{note}")
            origin, size, root = text.splitlines()[:3]
            ensure(origin == name, "a checkpoint of another log")
            return int(size), base64.b64decode(root, validate=True)
    raise Wrong(f"not signed by {name}:\n{note}")


def cosigned_at(note, key):
    """The time in seconds of the cosignature by this witness."""
    name, identity, public = key
    text, _, signatures = note.rpartition("\n\n")
    for line in signatures.splitlines():
        dash, signer, encoded = line.split(" ")
        signature = base64.b64decode(encoded, validate=True)
        if (dash, signer, signature[:4]) == ("\u2014", name, identity):
            time = int.from_bytes(signature[4:12], "big")
            message = f"cosignature/v1\ntime {time}\n{text}\n"
            ensure(is_signed(public, message.encode(), signature[12:]), f"a cosignature is wrong:\n{note}")
            return time
    raise Wrong(f"not cosigned by {name}:\n{note}")


def split_notes(text):
    lines = [line for line in text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n") if line]
    text = "".join(line + "\n" for line in lines)
    notes = re.findall(r"((?:(?!\u2014 ).*\n)+)((?:\u2014 .*\n)+)", text)
    ensure("".join(text + signatures for text, signatures in notes) == text, "something in the file is not a note")
    return [f"{text}\n{signatures}" for text, signatures in notes]


# --- The tree (RFC 9162, section 2.1).


def leaf_hash(line):
    return hashlib.sha256(b"\0" + line).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


class Roots:
    """The root after every leaf, from the roots of the full subtrees on the right edge."""

    def __init__(self):
        self.edge = []

    def push(self, leaf):
        self.edge.append((1, leaf))
        while len(self.edge) > 1 and self.edge[-1][0] == self.edge[-2][0]:
            (size, right), (_, left) = self.edge.pop(), self.edge.pop()
            self.edge.append((2 * size, node_hash(left, right)))

    def root(self):
        if not self.edge:
            return hashlib.sha256(b"").digest()
        result = self.edge[-1][1]
        for _, left in reversed(self.edge[:-1]):
            result = node_hash(left, result)
        return result


def check_inclusion(leaf, size, hashes, hash_of_leaf, root):
    """RFC 9162, section 2.1.3.2."""
    ensure(leaf < size, "no such leaf")
    place, last, result = leaf, size - 1, hash_of_leaf
    for other in hashes:
        ensure(last != 0, "the proof is too long")
        if place & 1 or place == last:
            result = node_hash(other, result)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            result = node_hash(result, other)
        place, last = place >> 1, last >> 1
    ensure(last == 0 and result == root, f"leaf {leaf} is not proved to be in the tree of {size}")


def check_consistency(older, size, hashes, older_root, root):
    """RFC 9162, section 2.1.4.2."""
    if older == size:
        ensure(not hashes and older_root == root, "two roots of one size")
        return
    ensure(hashes, "the proof is empty")
    if older & (older - 1) == 0:
        hashes = [older_root] + hashes
    place, last = older - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = hashes[0]
    for other in hashes[1:]:
        ensure(last != 0, "the proof is too long")
        if place & 1 or place == last:
            first, second = node_hash(other, first), node_hash(other, second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = node_hash(second, other)
        place, last = place >> 1, last >> 1
    ensure(last == 0 and first == older_root and second == root, f"the tree of {size} does not begin with that of {older}")


# --- What is checked.


def lines_of(path):
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            ensure(line.endswith(b"\n"), f"position {number}: the line has no end")
            yield number, line[:-1]


TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def check_line(number, line, last_time):
    event = json.loads(line)
    position, time = event["position"], event["time"]
    ensure(position == number, f"position {number}: found {position} there")
    ensure(TIME.fullmatch(time), f"position {number}: not a time: {time}")
    ensure(time >= last_time, f"position {number}: time runs backwards")
    ensure(line == canonical(event), f"position {number}: not written as it should be")
    return time


def canonical(event):
    """The line as TRANSPARENCY.md defines it, built again from its parts."""
    data = event["data"]
    names = "specversion id source type time datacontenttype position schemaversion".split()
    shown = [name for name in ("actor", "actorrole", "traceparent", "idempotencykey") if name in event]
    if "metadatahash" in event:
        ensure(not shown, "metadata that should be hidden")
        ensure(len(base64.b64decode(event["metadatahash"], validate=True)) == 32, "not a hash of metadata")
        shown = ["metadatahash"]
    names += shown
    ensure(set(names) | {"data"} == set(event), "attributes that do not belong there")
    ordered = {name: event[name] for name in names} | {"data": data}
    return json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()


def check_log(path, checkpoints_path, key_path):
    key = parse_key(open(key_path).read())
    notes = split_notes(open(checkpoints_path, encoding="utf-8", newline="").read())
    ensure(notes, "no checkpoint")
    signed = dict(open_checkpoint(note, key) for note in notes)
    roots, time, number = Roots(), "", 0
    ensure(signed.pop(0, roots.root()) == roots.root(), "the root of the empty log is wrong")
    for number, line in lines_of(path):
        time = check_line(number, line, time)
        roots.push(leaf_hash(line))
        if number in signed:
            ensure(roots.root() == signed.pop(number), f"the log is not what was signed up to position {number}")
    ensure(not signed, f"the log ends with position {number}, checkpoints are for {sorted(signed)}")


def check_vectors(path, log_path):
    vectors = json.load(open(path))
    key = parse_key(vectors["public_key"])
    decode = lambda texts: [base64.b64decode(text, validate=True) for text in texts]
    leaves, expected = decode(vectors["leaf_hashes"]), decode(vectors["roots"])
    roots, time, count = Roots(), "", 0
    for count, line in lines_of(log_path):
        time = check_line(count, line, time)
        ensure(leaf_hash(line) == leaves[count - 1], f"leaf {count - 1} differs")
        metadata = vectors["metadata"][count - 1]
        hidden = metadata and base64.b64encode(hashlib.sha256(metadata.encode()).digest()).decode()
        ensure(json.loads(line).get("metadatahash") == hidden, f"the metadata of leaf {count - 1} differ")
        roots.push(leaves[count - 1])
        ensure(roots.root() == expected[count - 1], f"the root of {count} leaves differs")
    ensure(count == len(leaves) == len(expected), "not as many lines as hashes")
    for part in ("checkpoints", "timed_checkpoints"):
        for size, note in enumerate(vectors[part], 1):
            ensure(open_checkpoint(note, key) == (size, expected[size - 1]), f"checkpoint {size} differs")
    witness = parse_key(vectors["witness_public_key"], WITNESS)
    cosigned = vectors["cosigned_checkpoints"]
    ensure(len(cosigned) == count, "not as many cosigned checkpoints as lines")
    for size, note in enumerate(cosigned, 1):
        ensure(open_checkpoint(note, key) == (size, expected[size - 1]), f"cosigned checkpoint {size} differs")
        ensure(cosigned_at(note, witness) == 1_796_000_000 + size, f"the time of cosignature {size} differs")
    for proof in vectors["inclusion_proofs"]:
        leaf, size = proof["leaf"], proof["size"]
        check_inclusion(leaf, size, decode(proof["hashes"]), leaves[leaf], expected[size - 1])
    for proof in vectors["consistency_proofs"]:
        older, size = proof["older"], proof["size"]
        check_consistency(older, size, decode(proof["hashes"]), expected[older - 1], expected[size - 1])
    ensure(vectors["inclusion_proofs"] and vectors["consistency_proofs"], "no proofs")


try:
    {"vectors": check_vectors, "log": check_log}[sys.argv[1]](*sys.argv[2:])
except (Wrong, ValueError, KeyError, IndexError) as wrong:
    print(f"WRONG: {wrong}")
    sys.exit(1)
