/**
 * Subscribes to the stream of totals and reconnects whenever it ends. All windows of a browser share one stream: over HTTP/1.1, a
 * browser opens at most six connections to a host.
 */
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

/** The lock of the window that reads the stream, and the channel on which it passes on what it receives. */
const SHARED = "totals";

/** Undefined on insecure origins (neither HTTPS nor localhost): there, each window reads its own stream. */
const locks = (globalThis as { navigator?: { locks?: LockManager } }).navigator?.locks;

/** What windows send each other. */
type Shared =
  | { kind: "event"; event: ServerEvent }
  | { kind: "lost"; failure: Failure }
  /** From a new window, which needs the current totals. */
  | { kind: "joined" };

export interface Subscription {
  /** Opens a new stream, or joins that of another window, and stays connected while the page is visible. */
  start(): void;
  stop(): void;
}

/** `lastEventId` names the figures that the page already shows; the service does not send them again. */
export function subscribe(
  lastEventId: () => string | undefined,
  onMessage: (message: StreamMessage) => void,
): Subscription {
  let stopped = true;
  let controller = new AbortController();
  let newest: ServerEvent | undefined;
  let confirmedAt: number | undefined;

  const deliver = (event: ServerEvent): void => {
    if (event.type === "totals" && event.id === lastEventId()) {
      return; // For a window that joined later.
    }
    for (const message of messagesFrom(event)) {
      if (message.kind === "totals") {
        newest = event;
      } else if (message.kind === "age") {
        confirmedAt = Date.now() - message.ageMs;
      }
      onMessage(message);
    }
  };

  const receive = (shared: Shared): void => {
    if (shared.kind === "event") {
      try {
        deliver(shared.event);
      } catch (error) {
        onMessage({ kind: "lost", failure: failureFromError(error) });
      }
    } else if (shared.kind === "lost") {
      onMessage(shared);
    }
  };

  /** Reads the stream for all windows until the signal. */
  const read = async (signal: AbortSignal, channel?: BroadcastChannel): Promise<void> => {
    const send = (shared: Shared): void => {
      channel?.postMessage(shared);
    };
    const sendCurrent = (): void => {
      if (newest !== undefined && confirmedAt !== undefined) {
        send({ kind: "event", event: newest });
        const age = JSON.stringify({ age_ms: Math.max(0, Date.now() - confirmedAt) });
        send({ kind: "event", event: { type: "age", data: age, id: newest.id } });
      }
    };
    if (channel !== undefined) {
      channel.onmessage = ({ data }: MessageEvent<Shared>) => {
        if (data.kind === "joined") {
          sendCurrent();
        }
      };
      // A window may have joined while none was reading.
      sendCurrent();
    }
    let failures = 0;
    for (;;) {
      const failure = await readStream(signal, lastEventId(), (event) => {
        send({ kind: "event", event });
        deliver(event);
        failures = 0;
      });
      if (signal.aborted) {
        return;
      }
      // The service ends streams in order to restart or to check the session again: that is no failure.
      failures += failure === undefined ? 0 : 1;
      if (failure !== undefined) {
        send({ kind: "lost", failure });
        onMessage({ kind: "lost", failure });
      }
      const retryAfterSeconds = failure?.kind === "unavailable" ? failure.retryAfterSeconds : 0;
      await pause(backoffMs(failures, Math.random(), retryAfterSeconds), signal);
    }
  };

  const run = (): void => {
    controller.abort();
    if (stopped || document.hidden) {
      return;
    }
    const { signal } = (controller = new AbortController());
    if (locks === undefined) {
      void read(signal);
      return;
    }
    const channel = new BroadcastChannel(SHARED);
    signal.addEventListener("abort", () => {
      channel.close();
    });
    channel.onmessage = ({ data }: MessageEvent<Shared>) => {
      receive(data);
    };
    channel.postMessage({ kind: "joined" } satisfies Shared);
    // Rejected when the signal ends the wait.
    locks.request(SHARED, { signal }, () => read(signal, channel)).catch(() => undefined);
  };

  document.addEventListener("visibilitychange", run);
  return {
    start() {
      stopped = false;
      run();
    },
    stop() {
      stopped = true;
      newest = undefined;
      run();
    },
  };
}

/** Waits for some time, or until the signal. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, signal.aborted ? 0 : ms);
    signal.addEventListener("abort", done);
  });
}

/** Reads one stream to its end. Returns the failure that ended it, or undefined if the service ended it. */
async function readStream(
  signal: AbortSignal,
  lastEventId: string | undefined,
  onEvent: (event: ServerEvent) => void,
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
        onEvent(event);
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
