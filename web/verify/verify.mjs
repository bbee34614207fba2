// node verify.mjs LICENCE_KEY jwks.json
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

// Clocks differ: a key may be dated a day ahead of this one.
const LEEWAY_SECONDS = 24 * 60 * 60;

const [licenceKey, jwksFile] = process.argv.slice(2);
const { keys } = JSON.parse(readFileSync(jwksFile, "utf8"));

function verified(licenceKey) {
  const parts = licenceKey.split(".").map((part) => Buffer.from(part, "base64url"));
  // Node.js skips what is not base64url (RFC 7515, section 2): a key has one spelling alone.
  const spelling = parts.map((part) => part.toString("base64url")).join(".");
  if (parts.length !== 3 || spelling !== licenceKey) throw new Error("malformed");
  const [header, claims] = parts.slice(0, 2).map((part) => JSON.parse(part));

  const jwk = keys.find((key) => key.kid === header.kid);
  if (header.alg !== "EdDSA" || jwk === undefined) throw new Error("signed with an unknown key");
  if (header.crit !== undefined) throw new Error("it has unknown extensions");

  const publicKey = createPublicKey({ key: jwk, format: "jwk" });
  const signed = Buffer.from(licenceKey.slice(0, licenceKey.lastIndexOf(".")));
  if (!verify(null, signed, publicKey, parts[2])) throw new Error("the signature is invalid");
  if (claims.iss !== "urn:sales") throw new Error("issued by someone else");
  if (!(claims.iat <= Date.now() / 1000 + LEEWAY_SECONDS)) throw new Error("dated in the future");
  return claims;
}

try {
  const { license, sub, iat } = verified(licenceKey);
  const bought = new Date(iat * 1000).toISOString();
  console.log(`genuine: ${license}, purchase ${sub}, bought ${bought}`);
} catch (error) {
  console.error(`not genuine: ${error.message}`);
  process.exit(1);
}
