/** Parameters of the page's address. They are removed from it, so they do not end up in the browser's history. */
export interface UrlParams {
  /** The one-time code of a sign-in link, `/sales.html#token=once_…`. The browser may keep the address, so a lasting token is ignored. */
  code: string | undefined;
  /** The issuer sent the user back without signing them in. */
  issuerFailed: boolean;
}

export function takeUrlParams(): UrlParams {
  const address = new URL(location.href);
  const token = address.hash.startsWith("#token=") ? address.hash.slice("#token=".length) : undefined;
  const issuerFailed = address.searchParams.get("sign-in") === "failed";
  if (token !== undefined) {
    address.hash = "";
  }
  if (issuerFailed) {
    address.searchParams.delete("sign-in");
  }
  if (token !== undefined || issuerFailed) {
    history.replaceState(null, "", address.pathname + address.search + address.hash);
  }
  return { code: token?.startsWith("once_") === true ? token : undefined, issuerFailed };
}

/** Read when the module is loaded, so the code has left the address before the page sends its first request. */
export const urlParams = takeUrlParams();
