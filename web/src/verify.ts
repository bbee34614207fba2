/** Fills in the address of the public keys. The build puts the example programs into the HTML. */
import type { Path } from "./client";
import { part, write } from "./page";

const jwks = new URL("/api/jwks.json" satisfies Path, location.href);
write(part(document, "fetch-keys", HTMLElement), `curl ${jwks.href} > jwks.json`);
