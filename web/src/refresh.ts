import type { Outcome } from "./api";
import { pauseAfter } from "./pause";

export interface Refreshing {
  /** Asks at once, in place of whatever is under way, and goes on as needed. */
  askNow(): void;
  /** What was asked for may be another answer by now: asks again, but no more often than it may. */
  changed(): void;
  /** Asks no more, and takes no answer any more, until told to ask again. */
  stop(): void;
}

/**
 * Asks when there is a reason to: when told so, at most once in `everyMs`; after failures until there is an answer, more
 * and more seldom; and when a page that was hidden is seen again. A hidden page asks nothing.
 */
export function refresh<T>(
  everyMs: number,
  ask: (signal: AbortSignal) => Promise<Outcome<T>>,
  take: (outcome: Outcome<T>) => void,
): Refreshing {
  let stopped = true;
  let failures = 0;
  /** How often it was said that something changed. */
  let changes = 0;
  let askedAt = 0;
  let round: AbortController | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const rest = (): void => {
    clearTimeout(timer);
    timer = undefined;
    round?.abort();
    round = undefined;
  };

  const run = async (): Promise<void> => {
    rest();
    if (stopped || document.hidden) {
      return;
    }
    const { signal } = (round = new AbortController());
    const known = changes;
    askedAt = Date.now();
    const outcome = await ask(signal);
    if (signal.aborted) {
      return;
    }
    round = undefined;
    failures = outcome.ok ? 0 : failures + 1;
    if (!outcome.ok) {
      const requested = outcome.failure.kind === "unavailable" ? outcome.failure.retryAfterSeconds : 0;
      later(pauseAfter(failures, Math.random(), requested));
    } else if (changes !== known) {
      later(askedAt + everyMs - Date.now());
    }
    take(outcome);
  };

  const later = (ms: number): void => {
    timer ??= setTimeout(() => void run(), Math.max(0, ms));
  };

  document.addEventListener("visibilitychange", () => void run());
  return {
    askNow() {
      stopped = false;
      failures = 0;
      void run();
    },
    changed() {
      changes += 1;
      if (!stopped && !document.hidden && round === undefined) {
        later(askedAt + everyMs - Date.now());
      }
    },
    stop() {
      stopped = true;
      failures = 0;
      rest();
    },
  };
}
