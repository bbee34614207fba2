/** What the page's address brought along, taken out of it before anybody can read it over a shoulder or go back to it. */
export interface Arrival {
  /** A token that somebody was given inside an address: `/sales.html#token=…` */
  token: string | undefined;
  /** The reader comes back from the issuer without being signed in. */
  cameBack: boolean;
}

export function takeArrival(): Arrival {
  const address = new URL(location.href);
  const token = address.hash.startsWith("#token=") ? address.hash.slice("#token=".length) : undefined;
  const cameBack = address.searchParams.get("sign-in") === "failed";
  if (token !== undefined) {
    address.hash = "";
  }
  if (cameBack) {
    address.searchParams.delete("sign-in");
  }
  if (token !== undefined || cameBack) {
    history.replaceState(null, "", address.pathname + address.search + address.hash);
  }
  return { token: token === "" ? undefined : token, cameBack };
}

/** Taken when the module is loaded: the token is out of the address before the page asks for anything. */
export const arrival = takeArrival();
