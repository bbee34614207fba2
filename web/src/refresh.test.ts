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

const EVERY_MS = 3000;
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

test("nothing is asked without a reason", async () => {
  const ask = vi.fn(() => Promise.resolve(answer));
  const refreshing = refresh(EVERY_MS, ask, vi.fn());
  refreshing.changed();
  page.turn(false);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask).not.toHaveBeenCalled();

  refreshing.askNow();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask).toHaveBeenCalledTimes(1);
});

test("many changes are asked about once, and no more often than may be", async () => {
  const ask = vi.fn(() => Promise.resolve(answer));
  const refreshing = refresh(EVERY_MS, ask, vi.fn());
  refreshing.askNow();
  await vi.advanceTimersByTimeAsync(100);
  for (let change = 0; change < 50; change += 1) {
    refreshing.changed();
  }
  await vi.advanceTimersByTimeAsync(EVERY_MS - 200);
  expect(ask).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(ask).toHaveBeenCalledTimes(2);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask).toHaveBeenCalledTimes(2);

  // After a quiet time at once.
  refreshing.changed();
  await vi.advanceTimersByTimeAsync(0);
  expect(ask).toHaveBeenCalledTimes(3);
});

test("a change that comes while the answer is under way is asked about again", async () => {
  const answers: (() => void)[] = [];
  const ask = vi.fn(
    () =>
      new Promise<Outcome<string>>((resolve) =>
        answers.push(() => {
          resolve(answer);
        }),
      ),
  );
  const refreshing = refresh(EVERY_MS, ask, vi.fn());
  refreshing.askNow();
  refreshing.changed();
  await vi.advanceTimersByTimeAsync(EVERY_MS);
  expect(ask).toHaveBeenCalledTimes(1);
  answers[0]?.();
  await vi.advanceTimersByTimeAsync(0);
  expect(ask).toHaveBeenCalledTimes(2);
});

test("what failed is asked again until there is an answer, more and more seldom", async () => {
  const failed: Outcome<string> = { ok: false, failure: { kind: "unreachable" } };
  const ask = vi.fn<() => Promise<Outcome<string>>>(() => Promise.resolve(failed));
  refresh(EVERY_MS, ask, vi.fn()).askNow();
  await vi.advanceTimersByTimeAsync(60_000);
  const attempts = ask.mock.calls.length;
  expect(attempts).toBeGreaterThan(7);
  expect(attempts).toBeLessThan(20);

  ask.mockResolvedValue(answer);
  await vi.advanceTimersByTimeAsync(10_000);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask).toHaveBeenCalledTimes(attempts + 1);
});

test("a hidden page asks nothing, and asks at once when it is seen again", async () => {
  const ask = vi.fn(() => Promise.resolve(answer));
  const refreshing = refresh(EVERY_MS, ask, vi.fn());
  refreshing.askNow();
  await vi.advanceTimersByTimeAsync(0);
  page.turn(true);
  refreshing.changed();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask).toHaveBeenCalledTimes(1);
  page.turn(false);
  expect(ask).toHaveBeenCalledTimes(2);
});

test("an answer to a question that was replaced or stopped is not taken", async () => {
  const answers: ((outcome: Outcome<string>) => void)[] = [];
  const take = vi.fn();
  const refreshing = refresh(EVERY_MS, () => new Promise<Outcome<string>>((resolve) => answers.push(resolve)), take);
  refreshing.askNow();
  refreshing.askNow();
  answers[1]?.({ ok: true, value: "newer" });
  answers[0]?.({ ok: true, value: "older" });
  await vi.advanceTimersByTimeAsync(0);
  expect(take.mock.calls).toEqual([[{ ok: true, value: "newer" }]]);

  refreshing.askNow();
  refreshing.stop();
  answers[2]?.(answer);
  page.turn(false);
  refreshing.changed();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(take).toHaveBeenCalledTimes(1);
  expect(answers).toHaveLength(3);
});

test("whoever takes the answer may stop the questions", async () => {
  const ask = vi.fn(() => Promise.resolve<Outcome<string>>({ ok: false, failure: { kind: "unauthenticated" } }));
  const refreshing = refresh(EVERY_MS, ask, () => {
    refreshing.stop();
  });
  refreshing.askNow();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask).toHaveBeenCalledTimes(1);
});
