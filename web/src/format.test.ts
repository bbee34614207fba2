import { expect, test } from "vitest";
import { formatAge, formatChange, formatClock, formatShare, formatTime } from "./format";

test("an age is given in the largest unit that is at least two", () => {
  expect(formatAge(0.4, "en")).toBe("now");
  expect(formatAge(1, "de")).toBe("vor 1 Sekunde");
  expect(formatAge(119, "en")).toBe("119 seconds ago");
  expect(formatAge(120, "en")).toBe("2 minutes ago");
  expect(formatAge(7199, "en")).toBe("119 minutes ago");
  expect(formatAge(7200, "de")).toBe("vor 2 Stunden");
});

const plain = (text: string): string => text.replaceAll(/\s/g, " ");

test("a share of zero is zero", () => {
  expect(plain(formatShare(1, 4, "de"))).toBe("25 %");
  expect(plain(formatShare(0, 0, "en"))).toBe("0%");
});

test("a change has a sign", () => {
  expect(plain(formatChange(100, 112, "de"))).toBe("+12 %");
  expect(plain(formatChange(100, 50, "en"))).toBe("-50%");
  expect(plain(formatChange(100, 100, "en"))).toBe("0%");
});

test("a time includes its time zone", () => {
  const time = new Date("2026-11-24T20:00:00Z");
  expect(formatTime(time, "de", "Europe/Berlin")).toBe("24.11.2026, 21:00:00 MEZ");
  expect(plain(formatTime(time, "en-US", "America/New_York"))).toBe("Nov 24, 2026, 3:00:00 PM EST");
  const own = new Intl.DateTimeFormat("en").resolvedOptions().timeZone;
  expect(formatTime(time, "en")).toBe(formatTime(time, "en", own));
});

test("clock times are in the company's time zone", () => {
  expect(formatClock(new Date("2026-10-25T00:30:00Z"), "de", { timeStyle: "short" })).toBe("02:30");
  expect(formatClock(new Date("2026-10-25T01:30:00Z"), "de", { timeStyle: "short" })).toBe("02:30");
});
