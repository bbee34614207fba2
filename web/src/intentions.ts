/**
 * The idempotency key of each purchase that has begun and has no receipt yet. A licence keeps its key until the receipt
 * is there, also when the page is reloaded meanwhile, so that a customer who tries again buys once.
 */
const keys = new Map<string, string>();

export function keyFor(license: string): string {
  const key = openKey(license) ?? crypto.randomUUID();
  keys.set(license, key);
  tabStorage()?.setItem(itemName(license), key);
  return key;
}

export function openKey(license: string): string | undefined {
  return keys.get(license) ?? tabStorage()?.getItem(itemName(license)) ?? undefined;
}

export function settle(license: string): void {
  keys.delete(license);
  tabStorage()?.removeItem(itemName(license));
}

function itemName(license: string): string {
  return `open-purchase:${license}`;
}

/** What lasts as long as the tab, unless the customer's browser forbids storage; then keys last as long as the page. */
function tabStorage(): Storage | undefined {
  try {
    return sessionStorage;
  } catch {
    return undefined;
  }
}
