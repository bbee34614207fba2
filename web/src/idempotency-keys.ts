/**
 * The idempotency keys of purchases without a receipt. A licence keeps its key until the receipt has arrived, across
 * reloads, so a customer who retries buys once.
 */
const keys = new Map<string, string>();

export function keyFor(license: string): string {
  const key = pendingKey(license) ?? crypto.randomUUID();
  keys.set(license, key);
  tabStorage()?.setItem(itemName(license), key);
  return key;
}

export function pendingKey(license: string): string | undefined {
  return keys.get(license) ?? tabStorage()?.getItem(itemName(license)) ?? undefined;
}

export function clearKey(license: string): void {
  keys.delete(license);
  tabStorage()?.removeItem(itemName(license));
}

function itemName(license: string): string {
  return `open-purchase:${license}`;
}

/** The tab's storage. If the browser blocks it, keys last as long as the page. */
function tabStorage(): Storage | undefined {
  try {
    return sessionStorage;
  } catch {
    return undefined;
  }
}
