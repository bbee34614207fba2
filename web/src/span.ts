/** The selected part of the history. */
import type { Bucket, Interval, Span } from "./api";
import { dayAfter, startOf, wall } from "./zone";

/** The selection; without a date, the newest part. */
export interface Choice {
  interval: Interval;
  date: string | undefined;
}

/** Minutes and hours are shown for one day, days for a month that ends with the selected day. */
const DAYS_SHOWN = 30;

export function spanOf({ interval, date }: Choice): Span {
  if (date === undefined) {
    return { interval };
  }
  const first = interval === "day" ? dayAfter(date, 1 - DAYS_SHOWN) : date;
  return { interval, from: startOf(first), to: startOf(dayAfter(date)) };
}

/** The buckets whose local time is also that of another bucket. */
export function ambiguousHours(buckets: readonly Bucket[]): ReadonlySet<Bucket> {
  const first = new Map<string, Bucket>();
  const ambiguous = new Set<Bucket>();
  for (const bucket of buckets) {
    const { date, hour, minute } = wall(bucket.from);
    const shown = `${date} ${hour}:${minute}`;
    const previous = first.get(shown);
    if (previous === undefined) {
      first.set(shown, bucket);
    } else {
      ambiguous.add(previous).add(bucket);
    }
  }
  return ambiguous;
}

/** Candidate tick indexes at round times, from every bucket to ever fewer. */
export function ticksOf(buckets: readonly Bucket[], interval: Interval): number[][] {
  const places = buckets.map(({ from }, index) => {
    const { hour, minute } = wall(from);
    return { minute: hour * 60 + minute, hour, day: buckets.length - 1 - index }[interval];
  });
  return STRIDES[interval].map((stride) => [...places.keys()].filter((index) => (places[index] ?? 0) % stride === 0));
}

const STRIDES: Record<Interval, readonly number[]> = {
  minute: [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720],
  hour: [1, 2, 3, 6, 12, 24],
  day: [1, 2, 7, 14],
};
