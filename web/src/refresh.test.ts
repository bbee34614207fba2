import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Outcome } from "./api";
import { refresh } from "./refresh";

class Page extends EventTarget {
  hidden = false;

  turn(hidden: boolean): void {
    this.hidden = hidden;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

const MIN_INTERVAL_MS = 3000;
const answer: Outcome<string> = { ok: true, value: "figures" };

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

test("there are no requests without a reason", async () => {
  const load = vi.fn(() => Promise.resolve(answer));
  const refresher = refresh(MIN_INTERVAL_MS, load, vi.fn());
  refresher.invalidate();
  page.turn(false);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(load).not.toHaveBeenCalled();

  refresher.refetch();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(load).toHaveBeenCalledTimes(1);
});

test("many invalidations cause one request, at the minimum interval", async () => {
  const load = vi.fn(() => Promise.resolve(answer));
  const refresher = refresh(MIN_INTERVAL_MS, load, vi.fn());
  refresher.refetch();
  await vi.advanceTimersByTimeAsync(100);
  for (let change = 0; change < 50; change += 1) {
    refresher.invalidate();
  }
  await vi.advanceTimersByTimeAsync(MIN_INTERVAL_MS - 200);
  expect(load).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(load).toHaveBeenCalledTimes(2);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(load).toHaveBeenCalledTimes(2);

  // Immediately after an idle time.
  refresher.invalidate();
  await vi.advanceTimersByTimeAsync(0);
  expect(load).toHaveBeenCalledTimes(3);
});

test("an invalidation during a request causes another one", async () => {
  const answers: (() => void)[] = [];
  const load = vi.fn(
    () =>
      new Promise<Outcome<string>>((resolve) =>
        answers.push(() => {
          resolve(answer);
        }),
      ),
  );
  const refresher = refresh(MIN_INTERVAL_MS, load, vi.fn());
  refresher.refetch();
  refresher.invalidate();
  await vi.advanceTimersByTimeAsync(MIN_INTERVAL_MS);
  expect(load).toHaveBeenCalledTimes(1);
  answers[0]?.();
  await vi.advanceTimersByTimeAsync(0);
  expect(load).toHaveBeenCalledTimes(2);
});

test("a failed request is retried with backoff until it succeeds", async () => {
  const failed: Outcome<string> = { ok: false, failure: { kind: "unreachable" } };
  const load = vi.fn<() => Promise<Outcome<string>>>(() => Promise.resolve(failed));
  refresh(MIN_INTERVAL_MS, load, vi.fn()).refetch();
  await vi.advanceTimersByTimeAsync(60_000);
  const attempts = load.mock.calls.length;
  expect(attempts).toBeGreaterThan(7);
  expect(attempts).toBeLessThan(20);

  load.mockResolvedValue(answer);
  await vi.advanceTimersByTimeAsync(10_000);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(load).toHaveBeenCalledTimes(attempts + 1);
});

test("a hidden page sends no requests, and one immediately when it becomes visible", async () => {
  const load = vi.fn(() => Promise.resolve(answer));
  const refresher = refresh(MIN_INTERVAL_MS, load, vi.fn());
  refresher.refetch();
  await vi.advanceTimersByTimeAsync(0);
  page.turn(true);
  refresher.invalidate();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(load).toHaveBeenCalledTimes(1);
  page.turn(false);
  expect(load).toHaveBeenCalledTimes(2);
});

test("the response of a replaced or cancelled request is ignored", async () => {
  const answers: ((outcome: Outcome<string>) => void)[] = [];
  const onOutcome = vi.fn();
  const refresher = refresh(MIN_INTERVAL_MS, () => new Promise<Outcome<string>>((resolve) => answers.push(resolve)), onOutcome);
  refresher.refetch();
  refresher.refetch();
  answers[1]?.({ ok: true, value: "newer" });
  answers[0]?.({ ok: true, value: "older" });
  await vi.advanceTimersByTimeAsync(0);
  expect(onOutcome.mock.calls).toEqual([[{ ok: true, value: "newer" }]]);

  refresher.refetch();
  refresher.stop();
  answers[2]?.(answer);
  page.turn(false);
  refresher.invalidate();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(onOutcome).toHaveBeenCalledTimes(1);
  expect(answers).toHaveLength(3);
});

test("the outcome handler may stop the requests", async () => {
  const load = vi.fn(() => Promise.resolve<Outcome<string>>({ ok: false, failure: { kind: "unauthenticated" } }));
  const refresher = refresh(MIN_INTERVAL_MS, load, () => {
    refresher.stop();
  });
  refresher.refetch();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(load).toHaveBeenCalledTimes(1);
});
