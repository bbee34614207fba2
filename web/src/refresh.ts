import type { Outcome } from "./api";
import { backoffMs } from "./backoff";

export interface Refresher {
  /** Fetches now, replacing a request in flight. */
  refetch(): void;
  /** The last response may be outdated: fetches again, at the minimum interval. */
  invalidate(): void;
  /** Cancels the request in flight and stays idle until the next `refetch`. */
  stop(): void;
}

/**
 * Fetches only for a reason: on `invalidate`, at most once per `minIntervalMs`; after a failure, with backoff; and when
 * a hidden page becomes visible. A hidden page sends no requests.
 */
export function refresh<T>(
  minIntervalMs: number,
  load: (signal: AbortSignal) => Promise<Outcome<T>>,
  onOutcome: (outcome: Outcome<T>) => void,
): Refresher {
  let stopped = true;
  let failures = 0;
  let invalidations = 0;
  let startedAt = 0;
  let inFlight: AbortController | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const cancel = (): void => {
    clearTimeout(timer);
    timer = undefined;
    inFlight?.abort();
    inFlight = undefined;
  };

  const run = async (): Promise<void> => {
    cancel();
    if (stopped || document.hidden) {
      return;
    }
    const { signal } = (inFlight = new AbortController());
    const invalidationsBefore = invalidations;
    startedAt = Date.now();
    const outcome = await load(signal);
    if (signal.aborted) {
      return;
    }
    inFlight = undefined;
    failures = outcome.ok ? 0 : failures + 1;
    if (!outcome.ok) {
      const retryAfterSeconds = outcome.failure.kind === "unavailable" ? outcome.failure.retryAfterSeconds : 0;
      schedule(backoffMs(failures, Math.random(), retryAfterSeconds));
    } else if (invalidations !== invalidationsBefore) {
      schedule(startedAt + minIntervalMs - Date.now());
    }
    onOutcome(outcome);
  };

  const schedule = (ms: number): void => {
    timer ??= setTimeout(() => void run(), Math.max(0, ms));
  };

  document.addEventListener("visibilitychange", () => void run());
  return {
    refetch() {
      stopped = false;
      failures = 0;
      void run();
    },
    invalidate() {
      invalidations += 1;
      if (!stopped && !document.hidden && inFlight === undefined) {
        schedule(startedAt + minIntervalMs - Date.now());
      }
    },
    stop() {
      stopped = true;
      failures = 0;
      cancel();
    },
  };
}
