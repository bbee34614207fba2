/** How long to wait before trying again what has failed. */

const FIRST_MS = 1_000;
/** Short enough that the page is current again soon after the service is. */
const LONGEST_MS = 8_000;
/** A service may ask for a longer pause with `Retry-After`, up to this. */
const LONGEST_REQUESTED_MS = 30_000;

/**
 * Milliseconds until the next attempt. They double with each failure in a row; `chance` (0 to 1) spreads the pages that
 * lost the service at the same moment.
 */
export function pauseAfter(failures: number, chance: number, requestedSeconds = 0): number {
  const pause = Math.min(FIRST_MS * 2 ** Math.max(0, failures - 1), LONGEST_MS) * (0.5 + chance / 2);
  return Math.max(pause, Math.min(requestedSeconds * 1000, LONGEST_REQUESTED_MS));
}
