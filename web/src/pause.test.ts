import { expect, test } from "vitest";
import { pauseAfter } from "./pause";

test("each failure doubles the pause, up to a limit", () => {
  expect([0, 1, 2, 3, 4, 50].map((failures) => pauseAfter(failures, 1))).toEqual([1000, 1000, 2000, 4000, 8000, 8000]);
});

test("pages that failed together don't come back together", () => {
  expect(pauseAfter(3, 0)).toBe(2000);
  expect(pauseAfter(3, 0.5)).toBe(3000);
});

test("a service may ask for a longer pause, within reason", () => {
  expect(pauseAfter(1, 1, 20)).toBe(20_000);
  expect(pauseAfter(1, 1, 3600)).toBe(30_000);
  expect(pauseAfter(4, 1, 1)).toBe(8000);
});
