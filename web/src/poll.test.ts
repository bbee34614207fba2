import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Outcome } from "./api";
import { pauseAfter, poll } from "./poll";

test("a page that gets its answers asks once a second", () => {
  expect(pauseAfter(0, 0)).toBe(1000);
});

test("each failure doubles the pause, up to a limit", () => {
  expect([1, 2, 3, 4, 50].map((failures) => pauseAfter(failures, 1))).toEqual([2000, 4000, 8000, 8000, 8000]);
});

test("pages that failed together don't come back together", () => {
  expect(pauseAfter(3, 0)).toBe(4000);
  expect(pauseAfter(3, 0.5)).toBe(6000);
});

test("a service may ask for a longer pause, within reason", () => {
  expect(pauseAfter(1, 1, 20)).toBe(20_000);
  expect(pauseAfter(1, 1, 3600)).toBe(30_000);
  expect(pauseAfter(3, 1, 1)).toBe(8000);
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

test("a hidden page asks nothing, and asks at once when it is seen again", async () => {
  const ask = vi.fn(() => Promise.resolve<Outcome<string>>({ ok: true, value: "figures" }));
  poll(ask, vi.fn());
  await vi.advanceTimersByTimeAsync(2500);
  expect(ask).toHaveBeenCalledTimes(3);

  page.turn(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask).toHaveBeenCalledTimes(3);

  page.turn(false);
  expect(ask).toHaveBeenCalledTimes(4);
  await vi.advanceTimersByTimeAsync(1000);
  expect(ask).toHaveBeenCalledTimes(5);
});

test("an answer to a question that was replaced is not taken", async () => {
  const answers: ((outcome: Outcome<string>) => void)[] = [];
  const take = vi.fn();
  const askNow = poll(() => new Promise<Outcome<string>>((resolve) => answers.push(resolve)), take);
  askNow();
  const newer: Outcome<string> = { ok: true, value: "newer" };
  answers[1]?.(newer);
  answers[0]?.({ ok: true, value: "older" });
  await vi.advanceTimersByTimeAsync(0);
  expect(take.mock.calls).toEqual([[newer]]);
});
