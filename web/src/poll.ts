import type { Outcome } from "./api";

const EVERY_MS = 1_000;
/** Short enough that the page is current again soon after the service is. */
const LONGEST_PAUSE_MS = 8_000;
/** A service may ask for a longer pause with `Retry-After`, up to this. */
const LONGEST_REQUESTED_PAUSE_MS = 30_000;

/**
 * Asks once a second while the page is visible and not at all while it is hidden; after failures more and more
 * seldom. The returned function asks at once, in place of whatever is under way.
 */
export function poll<T>(
  ask: (signal: AbortSignal) => Promise<Outcome<T>>,
  take: (outcome: Outcome<T>) => void,
): () => void {
  let failures = 0;
  let round = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;

  const run = async (): Promise<void> => {
    clearTimeout(timer);
    round.abort();
    if (document.hidden) {
      return;
    }
    const { signal } = (round = new AbortController());
    const outcome = await ask(signal);
    if (signal.aborted) {
      return;
    }
    failures = outcome.ok ? 0 : failures + 1;
    const requested = !outcome.ok && outcome.failure.kind === "unavailable" ? outcome.failure.retryAfterSeconds : 0;
    timer = setTimeout(() => void run(), pauseAfter(failures, Math.random(), requested));
    take(outcome);
  };

  document.addEventListener("visibilitychange", () => void run());
  void run();
  return () => void run();
}

/**
 * Milliseconds until the next question. They double with each failure in a row; `chance` (0 to 1) spreads the pages
 * that lost the service at the same moment.
 */
export function pauseAfter(failures: number, chance: number, requestedSeconds = 0): number {
  if (failures === 0) {
    return EVERY_MS;
  }
  const pause = Math.min(EVERY_MS * 2 ** failures, LONGEST_PAUSE_MS) * (0.5 + chance / 2);
  return Math.max(pause, Math.min(requestedSeconds * 1000, LONGEST_REQUESTED_PAUSE_MS));
}
