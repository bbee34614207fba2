// node verify.mjs LICENCE_KEY jwks.json
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const [licenceKey, jwksFile] = process.argv.slice(2);
const { keys } = JSON.parse(readFileSync(jwksFile, "utf8"));
const decode = (part) => JSON.parse(Buffer.from(part, "base64url"));

function verified(licenceKey) {
  const [header, claims, signature] = licenceKey.split(".");
  const { alg, kid } = decode(header);
  const jwk = keys.find((key) => key.kid === kid);
  if (alg !== "EdDSA" || jwk === undefined) throw new Error("signed with an unknown key");

  const publicKey = createPublicKey({ key: jwk, format: "jwk" });
  const signed = Buffer.from(`${header}.${claims}`);
  const isSigned = verify(null, signed, publicKey, Buffer.from(signature, "base64url"));
  if (!isSigned) throw new Error("the signature is invalid");
  if (decode(claims).iss !== "urn:sales") throw new Error("issued by someone else");
  return decode(claims);
}

try {
  const { license, sub, iat } = verified(licenceKey);
  const bought = new Date(iat * 1000).toISOString();
  console.log(`genuine: ${license}, purchase ${sub}, bought ${bought}`);
} catch (error) {
  console.error(`not genuine: ${error.message}`);
  process.exit(1);
}
