/** Licence keys that every program on the page about licence keys must accept or reject. */
import { createPrivateKey, sign } from "node:crypto";

/** From RFC 8037, appendix A. */
const publicKey = {
  kty: "OKP",
  crv: "Ed25519",
  x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
  kid: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
} as const;
const privateKey = createPrivateKey({
  key: { ...publicKey, d: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A" },
  format: "jwk",
});
/** The public keys that the programs are given. */
export const publicKeys = { keys: [{ ...publicKey, use: "sig", alg: "EdDSA" }] };

type Part = Record<string, unknown>;

const ISSUED_AT = 1_700_000_000;
const HOUR = 3_600;
const header = { alg: "EdDSA", typ: "JWT", kid: publicKey.kid };
const claims = { iss: "urn:sales", sub: "0190b0a0-0000-7000-8000-000000000001", license: "pro", iat: ISSUED_AT };
/** The order of the group (RFC 8032, section 5.1). */
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

const text = (part: Part | Buffer): string =>
  (Buffer.isBuffer(part) ? part : Buffer.from(JSON.stringify(part))).toString("base64url");

function licenceKey(change: { header?: Part; claims?: Part } = {}): string {
  const signed = `${text({ ...header, ...change.header })}.${text({ ...claims, ...change.claims })}`;
  return `${signed}.${text(sign(null, Buffer.from(signed), privateKey))}`;
}

const soon = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;

export function genuine(): Record<string, string> {
  return {
    "a licence key": licenceKey(),
    "one from a shop whose clock is 23 hours ahead": licenceKey({ claims: { iat: soon(23 * HOUR) } }),
  };
}

export function rejected(): Record<string, string> {
  // One whose signature has both characters in which base64url differs from base64.
  const key = Array.from({ length: 1_000 }, (_, earlier) => licenceKey({ claims: { iat: ISSUED_AT - earlier } })).find(
    (candidate) => /-[^.]*_[^.]*$/.test(candidate),
  );
  if (key === undefined) {
    throw new Error("one of 1,000 signatures has both");
  }
  const [head = "", body = "", signature = ""] = key.split(".");
  const withSignature = (changed: string): string => `${head}.${body}.${changed}`;
  const bytes = Buffer.from(signature, "base64url");
  const flipped = Buffer.from(bytes);
  flipped[0] = (flipped[0] ?? 0) ^ 1;
  // The last character holds two bits of the signature, and four that must be zero.
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const last = alphabet[alphabet.indexOf(signature.slice(-1)) + 1] ?? "";
  return {
    "another licence": `${head}.${text({ ...claims, license: "enterprise" })}.${signature}`,
    "another signature": withSignature(text(flipped)),
    "a signature that is too short": withSignature(text(bytes.subarray(0, 63))),
    "a signature that is too long": withSignature(text(Buffer.concat([bytes, Buffer.of(0)]))),
    "an empty signature": withSignature(""),
    "a signature with the order of the group added to it": withSignature(text(plusOrder(bytes))),
    "an unsigned key": `${text({ ...header, alg: "none" })}.${body}.`,
    "another algorithm": licenceKey({ header: { alg: "HS256" } }),
    "an unknown key id": licenceKey({ header: { kid: "unknown" } }),
    "critical extensions": licenceKey({ header: { crit: ["b64"], b64: true } }),
    "another issuer": licenceKey({ claims: { iss: "urn:others" } }),
    "no issuer": licenceKey({ claims: { iss: undefined } }),
    "no time": licenceKey({ claims: { iat: undefined } }),
    "a time that is two days ahead": licenceKey({ claims: { iat: soon(48 * HOUR) } }),
    "not a key": "licence",
    "an empty key": "",
    "empty parts": "..",
    "two parts": `${head}.${body}`,
    "a fourth part": `${key}.AAAA`,
    "an empty fourth part": `${key}.`,
    "unused bits that are set": withSignature(signature.slice(0, -1) + last),
    padding: `${key}==`,
    "the alphabet of base64": withSignature(signature.replaceAll("-", "+").replaceAll("_", "/")),
    "exclamation marks in the signature": withSignature(`${signature.slice(0, 40)}!!${signature.slice(40)}`),
    "a line break in the signature": withSignature(`${signature.slice(0, 40)}\n${signature.slice(40)}`),
    "a line break at the end": `${key}\n`,
    "a blank at the start": ` ${key}`,
    "a letter that is not ASCII": withSignature(`${signature}é`),
  };
}

/** The same signature to a program that does not check the bound of RFC 8032, section 5.1.7. */
function plusOrder(signature: Buffer): Buffer {
  const changed = Buffer.from(signature);
  const scalar = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString("hex")}`) + ORDER;
  Buffer.from(scalar.toString(16).padStart(64, "0"), "hex").reverse().copy(changed, 32);
  return changed;
}
