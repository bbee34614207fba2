import { expect, test } from "vitest";
import { backoffMs } from "./backoff";

test("each failure doubles the backoff, up to a maximum", () => {
  expect([0, 1, 2, 3, 4, 50].map((failures) => backoffMs(failures, 1))).toEqual([1000, 1000, 2000, 4000, 8000, 8000]);
});

test("pages that failed together do not retry together", () => {
  expect(backoffMs(3, 0)).toBe(2000);
  expect(backoffMs(3, 0.5)).toBe(3000);
});

test("a service may request a longer backoff, up to a maximum", () => {
  expect(backoffMs(1, 1, 20)).toBe(20_000);
  expect(backoffMs(1, 1, 3600)).toBe(30_000);
  expect(backoffMs(4, 1, 1)).toBe(8000);
});
