/** Which part of the history the reader looks at. */
import type { Bucket, Interval, Span } from "./api";
import { dayAfter, startOf, wall } from "./zone";

/** What the reader has chosen: without a date, the newest part. */
export interface Choice {
  interval: Interval;
  date: string | undefined;
}

/** Days are shown a month at a time, with the chosen day as the last; minutes and hours a day at a time. */
const DAYS_SHOWN = 30;

export function spanOf({ interval, date }: Choice): Span {
  if (date === undefined) {
    return { interval };
  }
  const first = interval === "day" ? dayAfter(date, 1 - DAYS_SHOWN) : date;
  return { interval, from: startOf(first), to: startOf(dayAfter(date)) };
}

/** The buckets for which the clocks show the same time as for another one. */
export function twins(buckets: readonly Bucket[]): ReadonlySet<Bucket> {
  const first = new Map<string, Bucket>();
  const alike = new Set<Bucket>();
  for (const bucket of buckets) {
    const { date, hour, minute } = wall(bucket.from);
    const shown = `${date} ${hour}:${minute}`;
    const twin = first.get(shown);
    if (twin === undefined) {
      first.set(shown, bucket);
    } else {
      alike.add(twin).add(bucket);
    }
  }
  return alike;
}

/** Numbers of the buckets that may be named below the axis: at round times, first all of them and then fewer and fewer. */
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
