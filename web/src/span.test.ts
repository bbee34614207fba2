import { expect, test } from "vitest";
import type { Bucket } from "./api";
import { spanOf, ticksOf, ambiguousHours } from "./span";

const HOUR_MS = 3_600_000;
const start = Date.parse("2026-10-24T22:00:00Z");
const hours: Bucket[] = Array.from({ length: 25 }, (_, hour) => ({
  from: new Date(start + hour * HOUR_MS),
  to: new Date(start + (hour + 1) * HOUR_MS),
  salesCount: 0,
  revenue: { amount_minor: 0, currency: "EUR" },
  byLicense: new Map(),
}));

test("without a date the span is the newest part; with one, that day or the month up to it", () => {
  expect(spanOf({ interval: "hour", date: undefined })).toEqual({ interval: "hour" });
  const day = { from: new Date("2026-10-24T22:00:00Z"), to: new Date("2026-10-25T23:00:00Z") };
  expect(spanOf({ interval: "hour", date: "2026-10-25" })).toEqual({ interval: "hour", ...day });
  expect(spanOf({ interval: "minute", date: "2026-10-25" })).toEqual({ interval: "minute", ...day });
  expect(spanOf({ interval: "day", date: "2026-10-25" })).toEqual({
    interval: "day",
    from: new Date("2026-09-25T22:00:00Z"),
    to: day.to,
  });
});

test("the two hours with the same local time are ambiguous", () => {
  expect([...ambiguousHours(hours)]).toEqual([hours[2], hours[3]]);
});

test("ticks are at round hours, including the hour that occurs twice", () => {
  const [all, , , six] = ticksOf(hours, "hour");
  expect(all).toHaveLength(25);
  expect(six).toEqual([0, 7, 13, 19]);
});
