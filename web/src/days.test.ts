import { afterEach, expect, test, vi } from "vitest";
import type { Bucket } from "./api";
import { daysOf, readDays } from "./days";

const HOUR_MS = 3_600_000;
const eur = (amount_minor: number): { amount_minor: number; currency: string } => ({ amount_minor, currency: "EUR" });

function bucket(from: number, lengthMs: number, salesCount: number): Bucket {
  return {
    from: new Date(from),
    to: new Date(from + lengthMs),
    salesCount,
    revenue: eur(salesCount * 100),
    byLicense: new Map(),
  };
}

/** One sale in every hour. */
const hours = (from: string, to: string): Bucket[] => {
  const [first, end] = [Date.parse(from), Date.parse(to)];
  return Array.from({ length: (end - first) / HOUR_MS }, (_, hour) => bucket(first + hour * HOUR_MS, HOUR_MS, 1));
};

test("today stands beside as much of yesterday as there has been of today", () => {
  // 14:30 in Berlin; yesterday's sixty minutes from 14:00 on had a sale each.
  const now = new Date("2026-11-24T13:30:00Z");
  const buckets = hours("2026-11-22T23:00:00Z", "2026-11-24T14:00:00Z");
  const from = Date.parse("2026-11-23T13:00:00Z");
  const minutes = Array.from({ length: 60 }, (_, minute) => bucket(from + minute * 60_000, 60_000, 1));
  const days = daysOf({ buckets, resets: [] }, minutes, now);
  expect(days.today.salesCount).toBe(15);
  expect(days.yesterday.salesCount).toBe(24);
  expect(days.yesterdayByNow).toEqual({ salesCount: 14 + 30, revenue: eur(4400) });
});

test("a yesterday of 25 hours is counted whole", () => {
  const buckets = hours("2026-10-24T22:00:00Z", "2026-10-26T03:00:00Z");
  const days = daysOf({ buckets, resets: [] }, [], new Date("2026-10-26T02:30:00Z"));
  expect(days.yesterday.salesCount).toBe(25);
  // 03:30: the four hours from midnight on, of which one was there twice; the one that runs is told by the minutes.
  expect(days.yesterdayByNow.salesCount).toBe(4);
});

test("a yesterday of 23 hours lacks an hour, also as the one that runs today", () => {
  const buckets = hours("2026-03-28T23:00:00Z", "2026-03-30T01:00:00Z");
  const days = daysOf({ buckets, resets: [] }, [], new Date("2026-03-30T00:30:00Z"));
  expect(days.yesterday.salesCount).toBe(23);
  expect(days.yesterdayByNow.salesCount).toBe(2);
});

afterEach(() => {
  vi.unstubAllGlobals();
});

test("the running hour of yesterday is read once, as it doesn't change any more", async () => {
  const asJson = ({ from, to, salesCount, revenue }: Bucket): unknown => ({
    from,
    to,
    sales_count: salesCount,
    revenue,
    by_license: {},
  });
  const fetch = vi.fn((path: string) => {
    const { searchParams } = new URL(path, "http://shop");
    const buckets = hours("2026-11-22T23:00:00Z", "2026-11-24T14:00:00Z");
    const asked = searchParams.get("interval") === "minute" ? [] : buckets.map(asJson);
    return Promise.resolve(new Response(JSON.stringify({ buckets: asked, resets: [] })));
  });
  vi.stubGlobal("fetch", fetch);
  await readDays(new Date("2026-11-24T13:30:00Z"));
  await readDays(new Date("2026-11-24T13:31:00Z"));
  const paths = fetch.mock.calls.map(([path]) => new URL(path, "http://shop").searchParams);
  expect(paths.map((asked) => asked.get("interval"))).toEqual(["hour", "minute", "hour"]);
  expect(paths[0]?.get("from")).toBe("2026-11-22T23:00:00.000Z");
  expect(paths[0]?.get("to")).toBe("2026-11-24T23:00:00.000Z");
  expect(paths[1]?.get("from")).toBe("2026-11-23T13:00:00.000Z");
});
