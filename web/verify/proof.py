# python proof.py proof.json key.pub
import json
import sys
from base64 import b64decode, b64encode
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def opened(note, key):
    """Size and root in a checkpoint that the key has signed (C2SP tlog-checkpoint)."""
    name, key_id, encoded = key.strip().split("+", 2)
    typed = b64decode(encoded, validate=True)
    own_id = sha256(f"{name}\n".encode() + typed).digest()[:4]
    if own_id.hex() != key_id or typed[0] != 1:
        raise ValueError("the key is not one of Ed25519")
    text, end, lines = note.rpartition("\n\n")
    text += "\n"
    lines = [line.split(" ") for line in lines.split("\n") if line.startswith(f"— {name} ")]
    signatures = [b64decode(line[2], validate=True) for line in lines]
    [signature] = [signature for signature in signatures if signature[:4] == own_id]
    Ed25519PublicKey.from_public_bytes(typed[1:]).verify(signature[4:], text.encode())
    origin, size, root = text.split("\n")[:3]
    if origin != name:
        raise ValueError("the checkpoint is that of another log")
    return int(size), b64decode(root, validate=True)


def root_of(leaf, index, size, path):
    """Root of the tree that has the leaf at this index (RFC 9162, section 2.1.3.2)."""
    node, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ValueError("the path is too long")
        if node % 2 or node == last:
            root = sha256(b"\1" + sibling + root).digest()
            while node % 2 == 0 and node:
                node, last = node // 2, last // 2
        else:
            root = sha256(b"\1" + root + sibling).digest()
        node, last = node // 2, last // 2
    if last:
        raise ValueError("the path is too short")
    return root


proof_file, key_file = sys.argv[1:]
with open(proof_file, encoding="utf-8") as file:
    proof = json.load(file)
try:
    with open(key_file, encoding="utf-8") as file:
        size, root = opened(proof["checkpoint"], file.read())
    event = json.loads(proof["event"])
    position = event["position"]
    if not 1 <= position <= size:
        raise ValueError("the checkpoint does not cover the event")
    leaf = sha256(b"\0" + proof["event"].encode()).digest()
    path = [b64decode(text, validate=True) for text in proof["hashes"]]
    if root_of(leaf, position - 1, size, path) != root:
        raise ValueError("the event is not in the signed log")
except (InvalidSignature, LookupError, TypeError, ValueError, AttributeError) as error:
    sys.exit(f"not proven: {error or 'the signature is invalid'}")

print(f"proven: event {position} of {size}, root {b64encode(root).decode()}")
print(json.dumps(event, indent=2))
