import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { eventParser, type ServerEvent } from "./events";
import { messagesFrom, type StreamMessage, subscribe } from "./stream";

const zero = { sales_count: 0, revenue: { amount_minor: 0, currency: "EUR" } };
const totals = { ...zero, by_license: { basic: zero }, position: 7, as_of: "2026-11-24T20:00:00Z" };
const text = `retry: 1000\n\nevent: totals\nid: 1-7\ndata: ${JSON.stringify(totals)}\n\n: still here\n\nevent: age\ndata: {"age_ms":12}\n\n`;

function parsed(pieces: readonly string[]): ServerEvent[] {
  const events: ServerEvent[] = [];
  const parse = eventParser((event) => events.push(event));
  pieces.forEach(parse);
  return events;
}

test("events do not depend on the chunks of the stream or on its line endings", () => {
  const whole = parsed([text]);
  expect(whole.map(({ type, id }) => [type, id])).toEqual([
    ["totals", "1-7"],
    ["age", "1-7"],
  ]);
  expect(parsed(text.split(/(?:)/))).toEqual(whole);
  for (const end of ["\r\n", "\r"]) {
    // A line ending is complete only with the next character.
    expect(parsed([...text.replaceAll("\n", end).split(/(?:)/), "x"])).toEqual(whole);
  }
});

test("several data lines are one event, and an incomplete event is ignored", () => {
  expect(parsed(["data: a\ndata:b\n\ndata: c\n"])).toEqual([{ type: "message", data: "a\nb", id: "" }]);
});

test("messages are decoded as strictly as responses, and unknown types are ignored", () => {
  const read = (type: string, data: string): StreamMessage[] => messagesFrom({ type, data, id: "1-7" });
  expect(read("totals", JSON.stringify(totals))).toMatchObject([{ kind: "totals", figures: { position: 7 }, id: "1-7" }]);
  expect(read("age", '{"age_ms":12}')).toEqual([{ kind: "age", ageMs: 12 }]);
  expect(read("weather", "fine")).toEqual([]);
  for (const [type, data] of [
    ["age", '{"age_ms":-1}'],
    ["age", "{}"],
    ["totals", "{}"],
    ["totals", "?"],
  ] as const) {
    expect(() => read(type, data)).toThrow();
  }
});

class Page extends EventTarget {
  hidden = false;

  turn(hidden: boolean): void {
    this.hidden = hidden;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

let page: Page;

beforeEach(() => {
  vi.useFakeTimers();
  page = new Page();
  vi.stubGlobal("document", page);
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Sends `pieces`, then nothing until the page disconnects. */
function serving(pieces: readonly string[], status = 200): ReturnType<typeof vi.fn> {
  const fetch = vi.fn(({ signal }: Request) => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        pieces.forEach((piece) => {
          controller.enqueue(new TextEncoder().encode(piece));
        });
        signal.addEventListener("abort", () => {
          controller.error(signal.reason);
        });
      },
    });
    return Promise.resolve(new Response(status === 200 ? body : null, { status }));
  });
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

const request = (fetch: ReturnType<typeof vi.fn>, call: number): Request => fetch.mock.calls[call]?.[0] as Request;

test("an idle stream is reopened, with the id of the current figures", async () => {
  const fetch = serving([text]);
  const messages: StreamMessage[] = [];
  let known: string | undefined;
  const subscription = subscribe(
    () => known,
    (item) => {
      messages.push(item);
      known = item.kind === "totals" ? item.id : known;
    },
  );
  subscription.start();
  await vi.advanceTimersByTimeAsync(11_000);
  expect(messages.map(({ kind }) => kind)).toEqual(["totals", "age"]);
  expect(request(fetch, 0).headers.has("Last-Event-ID")).toBe(false);

  await vi.advanceTimersByTimeAsync(3_000);
  expect(messages.at(2)).toEqual({ kind: "lost", failure: { kind: "timeout" } });
  expect(fetch).toHaveBeenCalledTimes(2);
  expect(request(fetch, 1).headers.get("Last-Event-ID")).toBe("1-7");
  subscription.stop();
});

test("an unreachable service is retried with backoff, and a rejection is reported", async () => {
  const fetch = serving([], 503);
  const messages: StreamMessage[] = [];
  const subscription = subscribe(
    () => undefined,
    (item) => messages.push(item),
  );
  subscription.start();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(fetch.mock.calls.length).toBeGreaterThan(7);
  expect(fetch.mock.calls.length).toBeLessThan(20);
  expect(messages[0]).toEqual({ kind: "lost", failure: { kind: "unavailable" } });
  subscription.stop();

  serving([], 401);
  subscription.start();
  await vi.advanceTimersByTimeAsync(0);
  expect(messages.at(-1)).toEqual({ kind: "lost", failure: { kind: "unauthenticated" } });
  subscription.stop();
});

test("a hidden page disconnects, and reconnects when it becomes visible", async () => {
  const fetch = serving([text]);
  const messages: StreamMessage[] = [];
  const subscription = subscribe(
    () => undefined,
    (item) => messages.push(item),
  );
  subscription.start();
  await vi.advanceTimersByTimeAsync(0);
  page.turn(true);
  expect(request(fetch, 0).signal.aborted).toBe(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(fetch).toHaveBeenCalledTimes(1);
  expect(messages.map(({ kind }) => kind)).toEqual(["totals", "age"]);

  page.turn(false);
  await vi.advanceTimersByTimeAsync(0);
  expect(fetch).toHaveBeenCalledTimes(2);
  subscription.stop();
});
