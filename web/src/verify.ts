/** Fills in the address of the public keys. The build puts the example programs into the HTML. */
import type { Path } from "./client";
import { part, write } from "./page";

const jwks = new URL("/api/jwks.json" satisfies Path, location.href);
const logKey = new URL("/api/log/key" satisfies Path, location.href);
write(part(document, "fetch-key", HTMLElement), `curl ${logKey.href} > key.pub\nsha256sum key.pub`);
// Without the hash, the page is complete: the command shows it, too.
showHash(part(document, "key-hash", HTMLElement)).catch(() => undefined);

write(part(document, "fetch-keys", HTMLElement), `curl ${jwks.href} > jwks.json`);

/** Of the key as the server sends it; readers compare it with the hash that they got in another way. */
async function showHash(place: HTMLElement): Promise<void> {
  const response = await fetch(logKey);
  // Browsers provide it over TLS and on localhost alone.
  const subtle = (globalThis.crypto as Crypto | undefined)?.subtle;
  if (response.ok && subtle !== undefined) {
    const hash = new Uint8Array(await subtle.digest("SHA-256", await response.arrayBuffer()));
    write(place, [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join(""));
  }
}
