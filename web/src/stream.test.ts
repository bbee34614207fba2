import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { eventParser, type ServerEvent } from "./events";
import { follow, type News, newsFrom } from "./stream";

const zero = { sales_count: 0, revenue: { amount_minor: 0, currency: "EUR" } };
const totals = { ...zero, by_license: { basic: zero }, position: 7, as_of: "2026-11-24T20:00:00Z" };
const text = `retry: 1000\n\nevent: totals\nid: 1-7\ndata: ${JSON.stringify(totals)}\n\n: still here\n\nevent: age\ndata: {"age_ms":12}\n\n`;

function parsed(pieces: readonly string[]): ServerEvent[] {
  const events: ServerEvent[] = [];
  const parse = eventParser((event) => events.push(event));
  pieces.forEach(parse);
  return events;
}

test("events are the same wherever the stream is cut, and however its lines end", () => {
  const whole = parsed([text]);
  expect(whole.map(({ type, id }) => [type, id])).toEqual([
    ["totals", "1-7"],
    ["age", "1-7"],
  ]);
  expect(parsed(text.split(/(?:)/))).toEqual(whole);
  for (const end of ["\r\n", "\r"]) {
    // A line end is complete only once the next character is there.
    expect(parsed([...text.replaceAll("\n", end).split(/(?:)/), "x"])).toEqual(whole);
  }
});

test("an event of several lines is one, and one that was not finished is none", () => {
  expect(parsed(["data: a\ndata:b\n\ndata: c\n"])).toEqual([{ type: "message", data: "a\nb", id: "" }]);
});

test("what a stream says is read as strictly as any other answer, and what is not known is passed over", () => {
  const read = (type: string, data: string): News[] => newsFrom({ type, data, id: "1-7" });
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

/** A service that sends `pieces`, and then nothing more until the page hangs up. */
function serving(pieces: readonly string[], status = 200): ReturnType<typeof vi.fn> {
  const fetch = vi.fn((_path: string, { signal }: RequestInit) => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        pieces.forEach((piece) => {
          controller.enqueue(new TextEncoder().encode(piece));
        });
        signal?.addEventListener("abort", () => {
          controller.error(signal.reason);
        });
      },
    });
    return Promise.resolve(new Response(status === 200 ? body : null, { status }));
  });
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

const headers = (fetch: ReturnType<typeof vi.fn>, call: number): Record<string, string> =>
  (fetch.mock.calls[call]?.[1] as { headers: Record<string, string> }).headers;

test("a stream that falls silent is opened again, and told which figures the page has", async () => {
  const fetch = serving([text]);
  const news: News[] = [];
  let known: string | undefined;
  const following = follow(
    () => known,
    (item) => {
      news.push(item);
      known = item.kind === "totals" ? item.id : known;
    },
  );
  following.start();
  await vi.advanceTimersByTimeAsync(11_000);
  expect(news.map(({ kind }) => kind)).toEqual(["totals", "age"]);
  expect(headers(fetch, 0)).not.toHaveProperty("Last-Event-ID");

  await vi.advanceTimersByTimeAsync(3_000);
  expect(news.at(2)).toEqual({ kind: "lost", failure: { kind: "timeout" } });
  expect(fetch).toHaveBeenCalledTimes(2);
  expect(headers(fetch, 1)["Last-Event-ID"]).toBe("1-7");
  following.stop();
});

test("a service that is away is asked more and more seldom, and a refusal is told", async () => {
  const fetch = serving([], 503);
  const news: News[] = [];
  const following = follow(
    () => undefined,
    (item) => news.push(item),
  );
  following.start();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(fetch.mock.calls.length).toBeGreaterThan(7);
  expect(fetch.mock.calls.length).toBeLessThan(20);
  expect(news[0]).toEqual({ kind: "lost", failure: { kind: "unavailable" } });
  following.stop();

  serving([], 401);
  following.start();
  await vi.advanceTimersByTimeAsync(0);
  expect(news.at(-1)).toEqual({ kind: "lost", failure: { kind: "unauthenticated" } });
  following.stop();
});

test("a hidden page hangs up, and opens the stream again when it is seen", async () => {
  const fetch = serving([text]);
  const news: News[] = [];
  const following = follow(
    () => undefined,
    (item) => news.push(item),
  );
  following.start();
  await vi.advanceTimersByTimeAsync(0);
  page.turn(true);
  expect((fetch.mock.calls[0]?.[1] as { signal: AbortSignal }).signal.aborted).toBe(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(fetch).toHaveBeenCalledTimes(1);
  expect(news.map(({ kind }) => kind)).toEqual(["totals", "age"]);

  page.turn(false);
  await vi.advanceTimersByTimeAsync(0);
  expect(fetch).toHaveBeenCalledTimes(2);
  following.stop();
});
