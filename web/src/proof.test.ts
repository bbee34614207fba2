import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type Flaw, NotProven, type Proof, verifyProof } from "./proof";

interface Vectors {
  public_key: string;
  checkpoints: string[];
  roots: string[];
  inclusion_proofs: { hashes: string[]; leaf: number; size: number }[];
}

const golden = (name: string): string =>
  readFileSync(new URL(`../../shared/contract/golden/${name}`, import.meta.url), "utf8");
const vectors = JSON.parse(golden("vectors.json")) as Vectors;
const lines = golden("log.ndjson").split("\n");

function proofOf({ hashes, leaf, size }: Vectors["inclusion_proofs"][number]): Proof {
  const checkpoint = vectors.checkpoints.find((note) => note.split("\n")[1] === String(size));
  return { event: lines[leaf] ?? "", position: leaf + 1, tree_size: size, hashes, checkpoint: checkpoint ?? null };
}

/** Those whose checkpoint is among the vectors. */
const proofs = vectors.inclusion_proofs.map(proofOf).filter(({ checkpoint }) => checkpoint !== null);

function last(): Proof {
  const [proof] = proofs.slice(-1);
  if (proof === undefined) {
    throw new Error("there are no proofs");
  }
  return proof;
}

async function flawOf(proof: Proof, key = vectors.public_key): Promise<Flaw | "none"> {
  try {
    await verifyProof(proof, key);
    return "none";
  } catch (error) {
    if (error instanceof NotProven) {
      return error.flaw;
    }
    throw error;
  }
}

/** Other text of the same kind: one character of it changed. */
function changed(text: string, at: number): string {
  return text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
}

test("every golden proof is valid, and shows position, size and root", async () => {
  expect(proofs.length).toBeGreaterThan(50);
  for (const proof of proofs) {
    const proven = await verifyProof(proof, vectors.public_key);
    expect(proven).toEqual({
      event: JSON.parse(proof.event) as unknown,
      position: proof.position,
      treeSize: proof.tree_size,
      root: vectors.roots[proof.tree_size - 1],
    });
    expect(await verifyProof(proof, `${vectors.public_key}\n`)).toEqual(proven);
  }
});

test("no change of a golden proof is accepted", async () => {
  for (const proof of proofs.filter((_, at) => at % 5 === 0)) {
    const other = proof.hashes.map((hash, at) => (at === 0 ? changed(hash, 3) : hash));
    const wrong: [Flaw, Proof][] = [
      ["event", { ...proof, event: "not an event" }],
      ["event", { ...proof, position: proof.position + 1 }],
      ["inclusion", { ...proof, event: proof.event.replace('"specversion":"1.0"', '"specversion":"1.1"') }],
      ["inclusion", { ...proof, event: `${proof.event} ` }],
      ["inclusion", { ...proof, hashes: [...proof.hashes, vectors.roots[0] ?? ""] }],
      ["checkpoint", { ...proof, tree_size: proof.tree_size + 1 }],
      ["signature", { ...proof, checkpoint: null }],
      ["signature", { ...proof, checkpoint: proof.checkpoint?.replace(/\n(\d+)\n/, "\n1$1\n") }],
    ];
    if (proof.hashes.length > 0) {
      wrong.push(["inclusion", { ...proof, hashes: other }], ["inclusion", { ...proof, hashes: proof.hashes.slice(1) }]);
    }
    for (const [flaw, tampered] of wrong) {
      expect(await flawOf(tampered), JSON.stringify(tampered)).toBe(flaw);
    }
  }
});

test("every changed character of a note is noticed, also in its signature and its root", async () => {
  const proof = last();
  const note = proof.checkpoint ?? "";
  for (let at = 0; at < note.length; at += 1) {
    expect(await flawOf({ ...proof, checkpoint: changed(note, at) }), `character ${at}`).not.toBe("none");
  }
});

test("signature lines of other keys and extension lines of the text do not disturb", async () => {
  const proof = last();
  const note = proof.checkpoint ?? "";
  const witness = "— witness.example AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
  expect(await flawOf({ ...proof, checkpoint: note + witness })).toBe("none");
  expect(await flawOf({ ...proof, checkpoint: note.replace("\n\n", `\n\n${witness}`) })).toBe("none");
  // A second signature of the same key: which one counts would be a matter of taste.
  const own = note.slice(note.indexOf("— "));
  expect(await flawOf({ ...proof, checkpoint: note + own })).toBe("signature");
  // An extension is part of the signed text.
  expect(await flawOf({ ...proof, checkpoint: note.replace("\n\n", "\nextension\n\n") })).toBe("signature");
});

test("a key with a wrong id, of another kind or of another name is refused", async () => {
  const proof = last();
  const [name = "", id = "", encoded = ""] = vectors.public_key.split("+");
  expect(await flawOf(proof, `${name}+00000000+${encoded}`)).toBe("key");
  expect(await flawOf(proof, `other.example+${id}+${encoded}`)).toBe("key");
  expect(await flawOf(proof, `${name}+${id}+${changed(encoded, 0)}`)).toBe("key");
  expect(await flawOf(proof, "")).toBe("key");
});

test("a line that no UTF-8 text can be is refused", async () => {
  const proof = last();
  expect(await flawOf({ ...proof, event: proof.event.replace("}", ',"x":"\ud800"}') })).toBe("event");
});
