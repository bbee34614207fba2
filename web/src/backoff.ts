/** Exponential backoff with jitter. */

const INITIAL_MS = 1_000;
/** Short enough for the page to recover soon after the service. */
const MAX_MS = 8_000;
/** The upper bound for a `Retry-After` of the service. */
const MAX_RETRY_AFTER_MS = 30_000;

/** Milliseconds until the next attempt. `random` (0 to 1) spreads pages that lost the service at the same time. */
export function backoffMs(failures: number, random: number, retryAfterSeconds = 0): number {
  const backoff = Math.min(INITIAL_MS * 2 ** Math.max(0, failures - 1), MAX_MS) * (0.5 + random / 2);
  return Math.max(backoff, Math.min(retryAfterSeconds * 1000, MAX_RETRY_AFTER_MS));
}
