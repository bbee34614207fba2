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

test("today is compared with yesterday up to the same time of day", () => {
  // 14:30 in Berlin; yesterday, each minute from 14:00 to 15:00 had one sale.
  const now = new Date("2026-11-24T13:30:00Z");
  const buckets = hours("2026-11-22T23:00:00Z", "2026-11-24T14:00:00Z");
  const from = Date.parse("2026-11-23T13:00:00Z");
  const minutes = Array.from({ length: 60 }, (_, minute) => bucket(from + minute * 60_000, 60_000, 1));
  const days = daysOf({ buckets, resets: [] }, minutes, now);
  expect(days.today.salesCount).toBe(15);
  expect(days.yesterday.salesCount).toBe(24);
  expect(days.yesterdayByNow).toEqual({ salesCount: 14 + 30, revenue: eur(4400) });
});

test("all hours of a 25-hour yesterday are counted", () => {
  const buckets = hours("2026-10-24T22:00:00Z", "2026-10-26T03:00:00Z");
  const days = daysOf({ buckets, resets: [] }, [], new Date("2026-10-26T02:30:00Z"));
  expect(days.yesterday.salesCount).toBe(25);
  // 03:30: four hours since midnight, since one occurred twice. The current hour would come from the minutes.
  expect(days.yesterdayByNow.salesCount).toBe(4);
});

test("a 23-hour yesterday lacks an hour, even if it is the current hour today", () => {
  const buckets = hours("2026-03-28T23:00:00Z", "2026-03-30T01:00:00Z");
  const days = daysOf({ buckets, resets: [] }, [], new Date("2026-03-30T00:30:00Z"));
  expect(days.yesterday.salesCount).toBe(23);
  expect(days.yesterdayByNow.salesCount).toBe(2);
});

afterEach(() => {
  vi.unstubAllGlobals();
});

test("the minutes of the current hour, yesterday, are loaded only once", async () => {
  const asJson = ({ from, to, salesCount, revenue }: Bucket): unknown => ({
    from,
    to,
    sales_count: salesCount,
    revenue,
    by_license: {},
  });
  const fetch = vi.fn(({ url }: Request) => {
    const { searchParams } = new URL(url);
    const buckets = hours("2026-11-22T23:00:00Z", "2026-11-24T14:00:00Z");
    const requested = searchParams.get("interval") === "minute" ? [] : buckets.map(asJson);
    return Promise.resolve(new Response(JSON.stringify({ buckets: requested, resets: [] })));
  });
  vi.stubGlobal("fetch", fetch);
  await readDays(new Date("2026-11-24T13:30:00Z"));
  await readDays(new Date("2026-11-24T13:31:00Z"));
  const queries = fetch.mock.calls.map(([{ url }]) => new URL(url).searchParams);
  expect(queries.map((query) => query.get("interval"))).toEqual(["hour", "minute", "hour"]);
  expect(queries[0]?.get("from")).toBe("2026-11-22T23:00:00.000Z");
  expect(queries[0]?.get("to")).toBe("2026-11-24T23:00:00.000Z");
  expect(queries[1]?.get("from")).toBe("2026-11-23T13:00:00.000Z");
});
