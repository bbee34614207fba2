import { expect, test } from "vitest";
import { dayAfter, startOf, wall } from "./zone";

test("a day starts at midnight in the company's time zone, in summer and in winter", () => {
  expect(startOf("2026-07-01").toISOString()).toBe("2026-06-30T22:00:00.000Z");
  expect(startOf("2026-12-01").toISOString()).toBe("2026-11-30T23:00:00.000Z");
});

test("the days on which the clocks change have 25 and 23 hours", () => {
  const hours = (date: string): number => (startOf(dayAfter(date)).getTime() - startOf(date).getTime()) / 3_600_000;
  expect([hours("2026-10-24"), hours("2026-10-25"), hours("2026-10-26")]).toEqual([24, 25, 24]);
  expect([hours("2026-03-28"), hours("2026-03-29"), hours("2026-03-30")]).toEqual([24, 23, 24]);
});

test("the hour that occurs twice has the same local time twice", () => {
  const shown = { date: "2026-10-25", hour: 2, minute: 30 };
  expect(wall(new Date("2026-10-25T00:30:00Z"))).toEqual(shown);
  expect(wall(new Date("2026-10-25T01:30:00Z"))).toEqual(shown);
  expect(wall(new Date("2026-10-24T22:00:00Z"))).toEqual({ date: "2026-10-25", hour: 0, minute: 0 });
});

test("the next day may be in the next month or year", () => {
  expect(dayAfter("2026-02-28")).toBe("2026-03-01");
  expect(dayAfter("2026-12-31")).toBe("2027-01-01");
  expect(dayAfter("2026-03-01", -29)).toBe("2026-01-31");
});

test("an incomplete year, as typed, is valid", () => {
  expect(dayAfter("0202-12-31")).toBe("0203-01-01");
  expect(wall(startOf("0202-11-25"))).toEqual({ date: "0202-11-25", hour: 0, minute: 0 });
});
