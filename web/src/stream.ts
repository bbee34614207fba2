/** The totals as they change, from a stream that is opened again whenever it ends. */
import { ANSWER_WITHIN_MS, type Failure, failureFrom, failureFromError, type Figures, readFigures, STREAM } from "./api";
import type { Schemas } from "./described";
import { eventParser, type ServerEvent } from "./events";
import { pauseAfter } from "./pause";
import { Reply, Unreadable } from "./reply";

/** The service says something every five seconds; when two of those are missing the connection is dead. */
const SILENCE_MS = 12_000;

export type News =
  | { kind: "totals"; figures: Figures; id: string }
  /** How long ago it was last certain that nothing is missing from the totals. */
  | { kind: "age"; ageMs: number }
  | { kind: "lost"; failure: Failure };

export interface Following {
  /** Opens the stream, in place of the one that is open, and keeps it open while the page is visible. */
  start(): void;
  stop(): void;
}

/** `known` is the id of the figures that the page has: they are not sent again. */
export function follow(known: () => string | undefined, take: (news: News) => void): Following {
  let stopped = true;
  let failures = 0;
  let round = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;

  const rest = (): void => {
    clearTimeout(timer);
    round.abort();
  };

  const run = async (): Promise<void> => {
    rest();
    if (stopped || document.hidden) {
      return;
    }
    const { signal } = (round = new AbortController());
    const failure = await listen(signal, known(), (news) => {
      failures = 0;
      take(news);
    });
    if (signal.aborted) {
      return;
    }
    // A stream that ends as it should, when the service restarts or wants to check the session, is opened again soon.
    failures += failure === undefined ? 0 : 1;
    const requested = failure?.kind === "unavailable" ? failure.retryAfterSeconds : 0;
    timer = setTimeout(() => void run(), pauseAfter(failures, Math.random(), requested));
    if (failure !== undefined) {
      take({ kind: "lost", failure });
    }
  };

  document.addEventListener("visibilitychange", () => void run());
  return {
    start() {
      stopped = false;
      failures = 0;
      void run();
    },
    stop() {
      stopped = true;
      rest();
    },
  };
}

/** Reads one stream until it ends. The result is why it ended, unless it ended as it should. */
async function listen(
  signal: AbortSignal,
  known: string | undefined,
  take: (news: News) => void,
): Promise<Failure | undefined> {
  const silence = new AbortController();
  const dead = (): void => {
    silence.abort(new DOMException("Nothing was heard for too long", "TimeoutError"));
  };
  let timer = setTimeout(dead, ANSWER_WITHIN_MS);
  try {
    const response = await fetch(STREAM, {
      headers: { Accept: "text/event-stream", ...(known !== undefined && { "Last-Event-ID": known }) },
      cache: "no-store",
      signal: AbortSignal.any([signal, silence.signal]),
    });
    if (!response.ok || response.body === null) {
      return await failureFrom(response);
    }
    const parse = eventParser((event) => {
      if (!signal.aborted) {
        newsFrom(event).forEach(take);
      }
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      clearTimeout(timer);
      timer = setTimeout(dead, SILENCE_MS);
      parse(part.value);
    }
    return undefined;
  } catch (error) {
    return failureFromError(error);
  } finally {
    clearTimeout(timer);
  }
}

/** An event of a type that this build doesn't know is passed over. */
export function newsFrom({ type, data, id }: ServerEvent): News[] {
  switch (type) {
    case "totals":
      return [{ kind: "totals", figures: readFigures(JSON.parse(data)), id }];
    case "age": {
      const ageMs = new Reply<Schemas["Age"]>(JSON.parse(data), "age").integer("age_ms");
      if (ageMs < 0) {
        throw new Unreadable("age_ms is negative");
      }
      return [{ kind: "age", ageMs }];
    }
    default:
      return [];
  }
}
