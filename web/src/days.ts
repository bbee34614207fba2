/** Today compared with yesterday. */
import { type Bucket, type History, type Outcome, readHistory, type Totals } from "./api";
import type { Money } from "./money";
import { dayAfter, startOf, wall } from "./zone";

export interface Days {
  today: Totals;
  /** The whole day. */
  yesterday: Totals;
  /** Yesterday up to the current time of day. */
  yesterdayByNow: Totals;
  now: Date;
}

/** The minutes of the current hour, yesterday. They no longer change, so they are loaded once per hour. */
let sameHour: { from: number; minutes: readonly Bucket[] } | undefined;

export async function readDays(now: Date, signal?: AbortSignal): Promise<Outcome<Days>> {
  const { date: today } = wall(now);
  // Whole days keep the address constant all day, so the browser can revalidate its cached response.
  const both = { from: startOf(dayAfter(today, -1)), to: startOf(dayAfter(today)) };
  const hours = await readHistory({ interval: "hour", ...both }, signal);
  if (!hours.ok) {
    return hours;
  }
  const running = sameHourYesterday(hours.value.buckets, now);
  if (running !== undefined && sameHour?.from !== running.from.getTime()) {
    const minutes = await readHistory({ interval: "minute", from: running.from, to: running.to }, signal);
    if (!minutes.ok) {
      return minutes;
    }
    sameHour = { from: running.from.getTime(), minutes: minutes.value.buckets };
  }
  return { ok: true, value: daysOf(hours.value, running === undefined ? [] : (sameHour?.minutes ?? []), now) };
}

/** When the clocks change, one hour occurs twice. Its second occurrence is compared, since today has only one. */
function sameHourYesterday(hours: readonly Bucket[], now: Date): Bucket | undefined {
  const { date, hour } = wall(now);
  const before = dayAfter(date, -1);
  return hours.findLast(({ from }) => wall(from).date === before && wall(from).hour === hour);
}

export function daysOf({ buckets: hours }: History, minutes: readonly Bucket[], now: Date): Days {
  const { date: today, hour, minute } = wall(now);
  const yesterday = hours.filter(({ from }) => wall(from).date === dayAfter(today, -1));
  const running = sameHourYesterday(hours, now);
  const before = yesterday.filter((bucket) => bucket !== running && wall(bucket.from).hour <= hour);
  return {
    today: sum(hours.filter(({ from }) => wall(from).date === today)),
    yesterday: sum(yesterday),
    yesterdayByNow: sum([...before, ...minutes.filter(({ from }) => wall(from).minute < minute)]),
    now,
  };
}

/** Assumes one currency: the company sells in one. */
export function sum(buckets: readonly Totals[]): Totals {
  const currency = buckets[0]?.revenue.currency ?? "EUR";
  const revenue: Money = { amount_minor: 0, currency };
  let salesCount = 0;
  for (const bucket of buckets) {
    salesCount += bucket.salesCount;
    revenue.amount_minor += bucket.revenue.amount_minor;
  }
  return { salesCount, revenue };
}
