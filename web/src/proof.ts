/**
 * Verifies the proof of a purchase in the browser, as shared/log/TRANSPARENCY.md specifies it: that the line is in the log of a checkpoint that
 * the key has signed. Uses only the browser's own cryptography, and trusts nothing in the proof.
 */
/** The parts of a proof that are verified; more may be in it. */
export interface Proof {
  /** The line of the event. */
  event: string;
  position: number;
  tree_size: number;
  /** The audit path, in base64. */
  hashes: readonly string[];
  /** The signed note. */
  checkpoint?: string | null | undefined;
}

/** What a valid proof shows. */
export interface Proven {
  /** The event, as the log has it. */
  event: unknown;
  position: number;
  /** Number of events in the log that was signed. */
  treeSize: number;
  /** The root of its Merkle tree, in base64. */
  root: string;
}

/** Which statement of a proof is false. */
export type Flaw = "key" | "checkpoint" | "signature" | "event" | "inclusion";

export class NotProven extends Error {
  readonly flaw: Flaw;

  constructor(flaw: Flaw) {
    super(`The proof is invalid: ${flaw}`);
    this.flaw = flaw;
  }
}

/** The browser cannot verify signatures of this kind, or not on a page without TLS. */
export class Unsupported extends Error {}

type Bytes = Uint8Array<ArrayBuffer>;

interface Key {
  name: string;
  id: Bytes;
  publicKey: Bytes;
}

interface Checkpoint {
  size: number;
  root: Bytes;
}

/** Algorithm of C2SP signed-note: Ed25519. */
const ED25519 = 1;
const HASH_BYTES = 32;
const SIGNATURE_BYTES = 64;
const KEY_ID_BYTES = 4;

export async function verifyProof(proof: Proof, key: string): Promise<Proven> {
  // Browsers provide it over TLS and on localhost alone.
  if ((globalThis.crypto as Crypto | undefined)?.subtle === undefined) {
    throw new Unsupported();
  }
  const { size, root } = await openCheckpoint(proof.checkpoint ?? "", await parseKey(key));
  if (proof.tree_size !== size) {
    throw new NotProven("checkpoint");
  }
  const event = parseEvent(proof.event);
  if (event.position !== proof.position) {
    throw new NotProven("event");
  }
  const leaf = await hash(Uint8Array.of(0), utf8(proof.event));
  const path = proof.hashes.map((text) => bytes(text, HASH_BYTES, "inclusion"));
  if (!equal(await rootOf(leaf, proof.position - 1, size, path), root)) {
    throw new NotProven("inclusion");
  }
  return { event, position: proof.position, treeSize: size, root: toBase64(root) };
}

/** `<name>+<id in hexadecimal>+<base64 of the algorithm and the public key>`; the id is derived from the rest. */
async function parseKey(text: string): Promise<Key> {
  const [, name, id, encoded] = /^([^\s+]+)\+([0-9a-f]{8})\+(\S+)$/.exec(text.trim()) ?? [];
  if (name === undefined || encoded === undefined) {
    throw new NotProven("key");
  }
  const typed = bytes(encoded, 1 + HASH_BYTES, "key");
  const derived = (await hash(utf8(`${name}\n`), typed)).slice(0, KEY_ID_BYTES);
  if (typed[0] !== ED25519 || hexadecimal(derived) !== id) {
    throw new NotProven("key");
  }
  return { name, id: derived, publicKey: typed.slice(1) };
}

/** The checkpoint in a note, if the key has signed it. Signatures of other keys, such as those of witnesses, prove nothing here. */
async function openCheckpoint(note: string, key: Key): Promise<Checkpoint> {
  const end = note.lastIndexOf("\n\n") + 1;
  const text = note.slice(0, end);
  const signatures = note
    .slice(end)
    .split("\n")
    .filter((line) => line.startsWith(`— ${key.name} `))
    .map((line) => base64(line.split(" ")[2] ?? ""))
    .filter((typed) => typed?.length === KEY_ID_BYTES + SIGNATURE_BYTES && equal(typed.slice(0, KEY_ID_BYTES), key.id));
  const [signature, ...more] = signatures;
  if (signature === undefined || more.length > 0 || !(await isSigned(text, signature.slice(KEY_ID_BYTES), key))) {
    throw new NotProven("signature");
  }
  // Lines after the third are extensions.
  const [origin, size, root] = text.split("\n");
  if (origin !== key.name || size === undefined || !/^[1-9]\d*$/.test(size) || !Number.isSafeInteger(Number(size))) {
    throw new NotProven("checkpoint");
  }
  return { size: Number(size), root: bytes(root ?? "", HASH_BYTES, "checkpoint") };
}

async function isSigned(text: string, signature: Bytes, { publicKey }: Key): Promise<boolean> {
  const key = await crypto.subtle.importKey("raw", publicKey, "Ed25519", false, ["verify"]).catch((error: unknown) => {
    throw error instanceof DOMException && error.name === "NotSupportedError" ? new Unsupported() : new NotProven("key");
  });
  return crypto.subtle.verify("Ed25519", key, signature, utf8(text));
}

/** RFC 9162, section 2.1.3.2: the root of the tree that has the leaf at this index. Numbers, because sizes may exceed 32 bits. */
async function rootOf(leaf: Bytes, index: number, size: number, path: readonly Bytes[]): Promise<Bytes> {
  if (!Number.isSafeInteger(index) || index < 0 || index >= size) {
    throw new NotProven("inclusion");
  }
  const half = (number: number): number => Math.floor(number / 2);
  let [node, last, root] = [index, size - 1, leaf];
  for (const sibling of path) {
    if (last === 0) {
      throw new NotProven("inclusion");
    }
    if (node % 2 === 1 || node === last) {
      root = await hash(Uint8Array.of(1), sibling, root);
      while (node % 2 === 0 && node !== 0) {
        [node, last] = [half(node), half(last)];
      }
    } else {
      root = await hash(Uint8Array.of(1), root, sibling);
    }
    [node, last] = [half(node), half(last)];
  }
  if (last !== 0) {
    throw new NotProven("inclusion");
  }
  return root;
}

function parseEvent(line: string): { position?: unknown } {
  try {
    const event: unknown = JSON.parse(line);
    if (typeof event === "object" && event !== null) {
      return event;
    }
  } catch {
    // It is not the line of an event.
  }
  throw new NotProven("event");
}

async function hash(...parts: Bytes[]): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer()));
}

function utf8(text: string): Bytes {
  const encoded = new TextEncoder().encode(text);
  // A lone surrogate was replaced: the hash would be that of another text.
  if (new TextDecoder("utf-8", { ignoreBOM: true }).decode(encoded) !== text) {
    throw new NotProven("event");
  }
  return encoded;
}

function bytes(text: string, length: number, flaw: Flaw): Bytes {
  const decoded = base64(text);
  if (decoded?.length !== length) {
    throw new NotProven(flaw);
  }
  return decoded;
}

/** Only the canonical spelling. */
function base64(text: string): Bytes | undefined {
  try {
    const decoded = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return toBase64(decoded) === text ? decoded : undefined;
  } catch {
    return undefined;
  }
}

function toBase64(decoded: Bytes): string {
  return btoa(String.fromCharCode(...decoded));
}

function hexadecimal(decoded: Bytes): string {
  return [...decoded].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function equal(one: Bytes, other: Bytes): boolean {
  return toBase64(one) === toBase64(other);
}
