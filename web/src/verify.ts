/** The page that shows how to verify a licence key; its programs are in the HTML, put there when the pages are built. */
import { address } from "./described";
import { part, write } from "./page";

const jwks = new URL(address("/api/jwks.json", "get", {}, {}), location.href);
write(part(document, "fetch-keys", HTMLElement), `curl ${jwks.href} > jwks.json`);
