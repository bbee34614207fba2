/** Subscribes to the stream of totals and reconnects whenever it ends. */
import { decodeFigures, type Figures } from "./api";
import { backoffMs } from "./backoff";
import { client, type Failure, failureFrom, failureFromError, REQUEST_TIMEOUT_MS, type Schemas } from "./client";
import { integer, object, Unreadable } from "./decode";
import { eventParser, type ServerEvent } from "./events";

/** The service sends something every five seconds. Two missed messages mean that the connection is dead. */
const IDLE_TIMEOUT_MS = 12_000;

export type StreamMessage =
  | { kind: "totals"; figures: Figures; id: string }
  /** The time since the totals were last confirmed to be complete. */
  | { kind: "age"; ageMs: number }
  | { kind: "lost"; failure: Failure };

export interface Subscription {
  /** Opens a new stream, closes the previous one, and keeps the stream open while the page is visible. */
  start(): void;
  stop(): void;
}

/** `lastEventId` names the figures that the page already shows; the service does not send them again. */
export function subscribe(
  lastEventId: () => string | undefined,
  onMessage: (message: StreamMessage) => void,
): Subscription {
  let stopped = true;
  let failures = 0;
  let controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;

  const close = (): void => {
    clearTimeout(timer);
    controller.abort();
  };

  const run = async (): Promise<void> => {
    close();
    if (stopped || document.hidden) {
      return;
    }
    const { signal } = (controller = new AbortController());
    const failure = await readStream(signal, lastEventId(), (message) => {
      failures = 0;
      onMessage(message);
    });
    if (signal.aborted) {
      return;
    }
    // The service ends streams in order to restart or to check the session again: that is no failure.
    failures += failure === undefined ? 0 : 1;
    const retryAfterSeconds = failure?.kind === "unavailable" ? failure.retryAfterSeconds : 0;
    timer = setTimeout(() => void run(), backoffMs(failures, Math.random(), retryAfterSeconds));
    if (failure !== undefined) {
      onMessage({ kind: "lost", failure });
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
      close();
    },
  };
}

/** Reads one stream to its end. Returns the failure that ended it, or undefined if the service ended it. */
async function readStream(
  signal: AbortSignal,
  lastEventId: string | undefined,
  onMessage: (message: StreamMessage) => void,
): Promise<Failure | undefined> {
  const idle = new AbortController();
  const onIdle = (): void => {
    idle.abort(new DOMException("The stream is idle", "TimeoutError"));
  };
  let timer = setTimeout(onIdle, REQUEST_TIMEOUT_MS);
  try {
    const { data, error, response } = await client.GET("/api/sales/stream", {
      params: { header: lastEventId === undefined ? {} : { "Last-Event-ID": lastEventId } },
      headers: { Accept: "text/event-stream" },
      parseAs: "stream",
      cache: "no-store",
      signal: AbortSignal.any([signal, idle.signal]),
    });
    if (!data) {
      return failureFrom(response, error);
    }
    const parse = eventParser((event) => {
      if (!signal.aborted) {
        messagesFrom(event).forEach(onMessage);
      }
    });
    const reader = data.pipeThrough(new TextDecoderStream()).getReader();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      clearTimeout(timer);
      timer = setTimeout(onIdle, IDLE_TIMEOUT_MS);
      parse(chunk.value);
    }
    return undefined;
  } catch (error) {
    return failureFromError(error);
  } finally {
    clearTimeout(timer);
  }
}

/** Event types that this build does not know are ignored. */
export function messagesFrom({ type, data, id }: ServerEvent): StreamMessage[] {
  switch (type) {
    case "totals":
      return [{ kind: "totals", figures: decodeFigures(JSON.parse(data) as Schemas["CurrentMoney"]), id }];
    case "age": {
      const ageMs = integer(object(JSON.parse(data) as Schemas["Age"], "age").age_ms, "age_ms");
      if (ageMs < 0) {
        throw new Unreadable("age_ms is negative");
      }
      return [{ kind: "age", ageMs }];
    }
    default:
      return [];
  }
}
